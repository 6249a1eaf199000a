//! Keeping the shim small: no huge pages for its heap, but for its container's.
//!
//! An allocator that asks for huge pages (mimalloc does) costs a process of some hundred KiB 6 MiB: the
//! release binary's shim had 6.5 MiB of its own with them, and has 0.8 MiB without (and 4.1 MiB of the
//! executable, which all processes of `cutover` share: 2.9 MiB PSS each when there are two shims). The switch is per
//! process and inherited, so it is turned back while a child is made.

use rustix::thread::disable_transparent_huge_pages;

/// The environment of a shim, for what is allocated before its `main`. Other allocators than mimalloc
/// do not look at it.
pub(crate) const ENVIRONMENT: (&str, &str) = ("MIMALLOC_ALLOW_THP", "0");

/// A kernel without huge pages refuses, and needs nothing.
pub(super) fn keep_small() {
    let _ = disable_transparent_huge_pages(true);
}

/// Makes a child that has huge pages as any other process.
pub(super) fn for_children<T>(make: impl FnOnce() -> T) -> T {
    let _ = disable_transparent_huge_pages(false);
    let made = make();
    keep_small();
    made
}
