//! Bytes to and from the restic repository format, version 2. It never knows which application the bytes belong to.
