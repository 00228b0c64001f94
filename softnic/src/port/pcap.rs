//! Packets from one capture file, into another.
//!
//! In: a pcap file, read as fast as packets are asked for; its times are not kept. Out: a pcap file with the time at
//! which each packet was sent. Either may be left out. Ethernet only.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};

use super::{Batch, Counters, Frame, MAX_PACKET, Port, PortError, PortStatistics, Received, Take};

/// The writer of records, and the file behind it: what is sent must be in the file when the call returns.
struct Output {
    records: Mutex<PcapWriter<SharedFile>>,
    file: SharedFile,
}

/// A buffered file that the writer of records and the port both hold.
#[derive(Clone)]
struct SharedFile(Arc<Mutex<BufWriter<File>>>);

impl Write for SharedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().flush()
    }
}

/// A port over capture files.
pub struct PcapPort {
    name: String,
    input: Mutex<Option<PcapReader<BufReader<File>>>>,
    output: Option<Output>,
    counters: Counters,
}

impl PcapPort {
    /// Reads packets from `input` and writes those sent to `output`, which is made anew.
    ///
    /// # Errors
    /// When a file cannot be opened or is no pcap file.
    pub fn open(input: Option<&Path>, output: Option<&Path>) -> Result<Self, PortError> {
        let show = |path: Option<&Path>| {
            path.map(|path| path.display().to_string())
                .unwrap_or_default()
        };
        let name = format!("pcap:{},{}", show(input), show(output));
        let capture = |source| PortError::Capture {
            name: name.clone(),
            source,
        };
        let input = match input {
            Some(path) => {
                let file =
                    File::open(path).map_err(|e| PortError::io(&name, "opening the input", e))?;
                Some(PcapReader::new(BufReader::new(file)).map_err(capture)?)
            }
            None => None,
        };
        let output = match output {
            Some(path) => {
                let file =
                    File::create(path).map_err(|e| PortError::io(&name, "making the output", e))?;
                let file = SharedFile(Arc::new(Mutex::new(BufWriter::new(file))));
                Some(Output {
                    records: Mutex::new(PcapWriter::new(file.clone()).map_err(capture)?),
                    file,
                })
            }
            None => None,
        };
        Ok(Self {
            input: Mutex::new(input),
            output,
            counters: Counters::default(),
            name,
        })
    }

    fn error(&self, source: pcap_file::PcapError) -> PortError {
        PortError::Capture {
            name: self.name.clone(),
            source,
        }
    }
}

impl PcapPort {
    /// Counts and lends what was read; `false` if that is nothing.
    fn lend(&self, batch: &Batch, take: &mut Take<'_>) -> bool {
        let frames: Vec<Frame<'_>> = batch.iter().map(Frame::whole).collect();
        self.counters.received_all(&frames);
        if !frames.is_empty() {
            take(&frames);
        }
        !frames.is_empty()
    }
}

impl Port for PcapPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn poll(
        &self,
        _queue: usize,
        limit: usize,
        _wait: Duration,
        take: &mut Take<'_>,
    ) -> Result<Received, PortError> {
        let mut input = self.input.lock();
        let mut batch = Batch::new(limit);
        while !batch.is_full() {
            match input.as_mut().and_then(PcapReader::next_packet) {
                Some(Ok(packet)) if packet.data.len() < packet.orig_len as usize => {
                    self.counters.malformed()
                }
                Some(Ok(packet)) if packet.data.len() > MAX_PACKET => self.counters.malformed(),
                Some(Ok(packet)) => batch.push(&packet.data),
                Some(Err(source)) => {
                    // A damaged record: nothing behind it can be trusted.
                    *input = None;
                    self.lend(&batch, take);
                    return Err(self.error(source));
                }
                None => break,
            }
        }
        drop(input);
        Ok(if self.lend(&batch, take) {
            Received::Packets
        } else {
            Received::End
        })
    }

    fn transmit(&self, _queue: usize, frames: &[Frame<'_>]) -> Result<(), PortError> {
        let Some(output) = &self.output else {
            self.counters.send_dropped(frames.len() as u64);
            return Ok(());
        };
        let mut records = output.records.lock();
        for packet in frames.iter().map(Frame::contiguous) {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
            records
                .write_packet(&PcapPacket::new(now, length, &packet))
                .map_err(|source| self.error(source))?;
            self.counters.sent(packet.len());
        }
        output
            .file
            .clone()
            .flush()
            .map_err(|e| PortError::io(&self.name, "writing the output", e))
    }

    fn is_up(&self) -> bool {
        true
    }

    fn statistics(&self) -> PortStatistics {
        self.counters.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_can_be_received_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pcap");
        let writer = PcapPort::open(None, Some(&path)).unwrap();
        writer.send(&[b"first packet", b"second"]).unwrap();
        let mut batch = Batch::new(1);
        assert_eq!(
            writer.receive(&mut batch, Duration::ZERO).unwrap(),
            Received::End
        );

        let reader = PcapPort::open(Some(&path), None).unwrap();
        assert_eq!(
            reader.receive(&mut batch, Duration::ZERO).unwrap(),
            Received::Packets
        );
        assert_eq!(batch.iter().collect::<Vec<_>>(), [b"first packet"]);
        batch.clear();
        assert_eq!(
            reader.receive(&mut batch, Duration::ZERO).unwrap(),
            Received::Packets
        );
        assert_eq!(
            reader.receive(&mut Batch::new(1), Duration::ZERO).unwrap(),
            Received::End
        );
        assert_eq!(reader.statistics().rx_bytes, 18);
    }

    #[test]
    fn a_file_that_is_no_capture_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.pcap");
        std::fs::write(&path, b"not a capture, just some text in a file").unwrap();
        assert!(matches!(
            PcapPort::open(Some(&path), None),
            Err(PortError::Capture { .. })
        ));
        assert!(matches!(
            PcapPort::open(Some(&dir.path().join("c")), None),
            Err(PortError::Io { .. })
        ));
    }
}
