//! Memory from the operating system: zeroes in huge pages, and a thread that makes pages ready before a packet writes to them.
//!
//! In: sizes; ranges that will soon be written to. Out: memory that the system has provided there.
//!
//! Who writes first to a page waits until the system has found and cleared it: 0.2 ms for a huge one, 4 ms where a host gives a
//! virtual machine its memory only then. Tables that learn grow while packets flow, and a packet would wait for each page.
//!
//! Invariant: nothing but time depends on whether a page is ready.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Weak};
use std::{slice, thread};

#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::{MmapMut, MmapOptions};

/// Bytes of a cache line and of the one that processors fetch with it.
pub(super) const LINE: usize = 128;
/// Bytes of a word.
pub(super) const WORD: usize = size_of::<u64>();
/// Bytes of a huge page.
pub(super) const HUGE: usize = 2 << 20;

/// Words that are zero at first and begin two cache lines.
#[derive(Debug)]
pub(crate) struct Zeroes {
    memory: Memory,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    /// Of the allocator, and where the first word lies. It may write zeroes to memory that was used before.
    Small(Vec<AtomicU64>, usize),
    /// Of the system, which gives pages when they are used: large memory is there at once.
    Large(MmapMut),
}

impl Zeroes {
    /// So many.
    pub fn new(len: usize) -> Self {
        let bytes = len * WORD;
        if bytes >= HUGE
            && !cfg!(miri)
            && let Ok(memory) = MmapOptions::new().len(bytes).map_anon()
        {
            #[cfg(target_os = "linux")]
            let _slower = memory.advise(Advice::HugePage);
            let memory = Memory::Large(memory);
            return Self { memory, len };
        }
        let zeroed = Box::<[AtomicU64]>::new_zeroed_slice(len + LINE / WORD);
        // SAFETY: all-zero bytes are a valid `AtomicU64`.
        let words = unsafe { zeroed.assume_init() }.into_vec();
        let first = words.as_ptr().align_offset(LINE).min(LINE / WORD);
        let memory = Memory::Small(words, first);
        Self { memory, len }
    }

    /// They.
    #[inline]
    pub fn words(&self) -> &[AtomicU64] {
        match &self.memory {
            Memory::Small(words, first) => words.get(*first..first + self.len).unwrap_or_default(),
            // SAFETY: the mapping has room for so many words, begins a page, and is neither moved nor shrunk; nobody has a
            // reference to its bytes, and any of them are valid atomic words.
            Memory::Large(mapping) => unsafe {
                slice::from_raw_parts(mapping.as_ptr().cast(), self.len)
            },
        }
    }

    /// Has the system provide the pages of some words, whose contents stay; whether it could.
    fn provide(&self, range: &Range<usize>) -> bool {
        match &self.memory {
            #[cfg(target_os = "linux")]
            Memory::Large(mapping) => {
                let (from, len) = (range.start * WORD, range.len() * WORD);
                let provided = mapping.advise_range(Advice::PopulateWrite, from, len);
                provided.is_ok()
            }
            _ => true,
        }
    }

    /// Has the pages of these words made ready, soon and in order, unless nobody else has this memory any more by then. A few
    /// small pages are not worth it.
    pub fn make_ready(self: &Arc<Self>, range: Range<usize>) {
        let large = matches!(self.memory, Memory::Large(_));
        if !large || range.len() < HUGE / WORD {
            return;
        }
        let request = Request {
            memory: Arc::downgrade(self),
            range,
        };
        if let Some(maker) = &*MAKER {
            let _gone = maker.send(request);
        }
    }
}

/// Asks for huge pages: random access to gigabytes otherwise misses the TLB on every row.
pub(crate) fn advise_huge<T>(words: &[T]) {
    let bytes = size_of_val(words);
    if bytes < 2 * HUGE || cfg!(miri) {
        return;
    }
    #[cfg(target_os = "linux")]
    {
        let start = (words.as_ptr() as usize).next_multiple_of(HUGE);
        let end = (words.as_ptr() as usize + bytes) / HUGE * HUGE;
        // SAFETY: the range lies inside a live allocation; the advice changes the size of its pages, not its contents.
        // A refusal costs speed only.
        unsafe {
            libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE);
        }
    }
}

/// Pages that somebody will soon write to.
struct Request {
    memory: Weak<Zeroes>,
    range: Range<usize>,
}

/// One thread for all tables; none where none can be had, or where the system cannot do it.
static MAKER: LazyLock<Option<Sender<Request>>> = LazyLock::new(|| {
    if cfg!(any(miri, not(target_os = "linux"))) {
        return None;
    }
    let (sender, requests) = channel();
    let thread = thread::Builder::new().name("p4rs-pages".to_owned());
    thread.spawn(|| serve(requests)).ok()?;
    Some(sender)
});

/// A huge page of each request by turns: meanwhile nobody can change which memory the process has, and none waits for a large one. It
/// ends with the first refusal: the system is too old, or has no memory left, which those who write will learn by themselves.
fn serve(requests: Receiver<Request>) {
    let mut open = VecDeque::new();
    loop {
        if open.is_empty() {
            open.extend(requests.recv().ok());
        }
        open.extend(requests.try_iter());
        let Some(mut request) = open.pop_front() else {
            return;
        };
        let Some(memory) = request.memory.upgrade() else {
            continue;
        };
        let end = request.range.end.min(request.range.start + HUGE / WORD);
        if !memory.provide(&(request.range.start..end)) {
            return;
        }
        request.range.start = end;
        if !request.range.is_empty() {
            open.push_back(request);
        }
    }
}

/// How many of a range's pages the process has, and how many there are.
#[cfg(all(test, target_os = "linux", not(miri)))]
pub(super) fn resident(words: &[AtomicU64]) -> (usize, usize) {
    // SAFETY: asks for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let start = (words.as_ptr() as usize).next_multiple_of(page);
    let end = words.as_ptr_range().end as usize / page * page;
    let mut pages = vec![0u8; (end - start) / page];
    // SAFETY: the range lies inside a live allocation, and there is a byte for each of its pages.
    let status = unsafe {
        libc::mincore(
            start as *mut libc::c_void,
            end - start,
            pages.as_mut_ptr().cast(),
        )
    };
    assert_eq!(status, 0);
    (
        pages.iter().filter(|&&page| page & 1 != 0).count(),
        pages.len(),
    )
}

/// Linux can do it since 5.14.
#[cfg(all(test, target_os = "linux", not(miri)))]
pub(super) fn is_possible() -> bool {
    Zeroes::new(HUGE / WORD).provide(&(0..HUGE / WORD))
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn pages_are_ready_soon_and_what_they_hold_stays() {
        if !is_possible() {
            return;
        }
        let memory = Arc::new(Zeroes::new(4 * HUGE / WORD));
        let words = memory.words();
        assert_eq!(words.as_ptr() as usize % LINE, 0);
        words[5].store(7, Ordering::Relaxed);
        let asked = &words[..2 * HUGE / WORD];
        memory.make_ready(0..asked.len());
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let (ready, all) = resident(asked);
            if ready == all {
                break;
            }
            assert!(Instant::now() < end, "{ready} of {all}");
            thread::sleep(Duration::from_millis(1));
        }
        let held: u64 = words.iter().map(|word| word.load(Ordering::Relaxed)).sum();
        assert_eq!((held, words[5].load(Ordering::Relaxed)), (7, 7));
    }

    #[test]
    fn memory_that_is_gone_is_left_alone() {
        let memory = Arc::new(Zeroes::new(4 * HUGE / WORD));
        memory.make_ready(0..memory.words().len());
        drop(memory);
        pages_are_ready_soon_and_what_they_hold_stays();
    }
}
