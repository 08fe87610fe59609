//! One kind of live data, out and back in. It never knows how a repository stores it.
