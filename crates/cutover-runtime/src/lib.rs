//! Image configuration to running container.
