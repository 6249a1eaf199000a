//! Blobs, layers, snapshots and image references on disk.
