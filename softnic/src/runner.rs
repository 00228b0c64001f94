//! The threads that move packets and time.
//!
//! In: a data plane. Out: one thread per queue of a port, which takes up to 64 packets at a time, runs the program and
//! sends, and one thread that lets time pass. A queue's packets stay in order. Nothing is queued between threads: a port
//! that cannot take a packet drops and counts it, so a slow port never holds up another.
//! Invariant: when [`Runner::stop`] returns, no thread is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::data_plane::{DataPlane, Scratch};
use crate::port::{Port, Received, TURN};

/// How long a port waits for a packet before it looks whether the switch has stopped.
const WAIT: Duration = Duration::from_millis(50);

/// The running threads.
pub(crate) struct Runner {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    asked: AtomicBool,
    lock: Mutex<()>,
    ring: Condvar,
}

impl Stop {
    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        drop(self.lock.lock());
        self.ring.notify_all();
    }

    /// Waits for the time given, or until stopping is asked for.
    fn wait(&self, time: Duration) {
        let mut guard = self.lock.lock();
        if !self.is_asked() {
            self.ring.wait_for(&mut guard, time);
        }
    }
}

impl Runner {
    /// Starts the threads; `tick` apart, timeouts are looked at (`None`: only when asked for).
    pub fn start(plane: &Arc<DataPlane>, tick: Option<Duration>) -> std::io::Result<Self> {
        let mut runner = Self {
            stop: Arc::default(),
            threads: Vec::new(),
        };
        let of_port = |(id, port): (u32, &dyn Port)| (0..port.queues()).map(move |q| (id, q));
        let queues: Vec<(u32, usize)> = plane.ports().flat_map(of_port).collect();
        for (id, queue) in queues {
            let (plane, stop) = (Arc::clone(plane), Arc::clone(&runner.stop));
            runner.spawn(format!("port-{id}.{queue}"), move || {
                move_packets(&plane, id, queue, &stop)
            })?;
        }
        if let Some(tick) = tick {
            let (plane, stop) = (Arc::clone(plane), Arc::clone(&runner.stop));
            runner.spawn("timers".to_owned(), move || {
                while !stop.is_asked() {
                    plane.tick();
                    stop.wait(tick);
                }
            })?;
        }
        Ok(runner)
    }

    fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.threads
            .push(std::thread::Builder::new().name(name).spawn(work)?);
        Ok(())
    }

    /// Stops the threads and waits for them.
    pub fn stop(&mut self) {
        self.stop.ask();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a packet thread panicked");
            }
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.stop();
    }
}

fn move_packets(plane: &DataPlane, id: u32, queue: usize, stop: &Stop) {
    let Some(port) = plane.port(id) else { return };
    let mut scratch = Scratch::default();
    while !stop.is_asked() {
        let received = port.poll(queue, TURN, WAIT, &mut |frames| {
            plane.receive(id, queue, frames, &mut scratch);
        });
        match received {
            Ok(Received::Packets | Received::Nothing) => {}
            Ok(Received::End) => {
                tracing::info!(port = id, queue, name = port.name(), "no more packets");
                return;
            }
            Err(error) => {
                tracing::error!(port = id, queue, %error, "the port receives no more");
                return;
            }
        }
    }
}
