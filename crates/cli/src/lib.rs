//! Words in, words out: the recoup command line. It never decides.
