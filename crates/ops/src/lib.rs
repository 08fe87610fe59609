//! Every verb of recoup as one function. It never prints, exits or asks.
