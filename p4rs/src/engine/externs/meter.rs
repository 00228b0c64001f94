//! Meters: two rates, three colours (RFC 2698), in packets or bytes.
//!
//! In: packets with their size and time, control-plane rates. Out: a colour.
//! Invariant: a meter without configuration is always green; time that goes back adds no tokens.

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use super::super::Time;
use super::ExternError;

/// What a meter measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeterUnit {
    /// Packets.
    Packets,
    /// Bytes.
    Bytes,
}

/// A meter's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Color {
    /// Within the committed rate.
    Green,
    /// Above the committed, within the peak rate.
    Yellow,
    /// Above the peak rate.
    Red,
}

/// Rates per second and bursts, in the meter's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterConfig {
    /// Committed rate.
    pub cir: u64,
    /// Committed burst.
    pub cburst: u64,
    /// Peak rate.
    pub pir: u64,
    /// Peak burst.
    pub pburst: u64,
}

/// Tokens are counted in billionths, so that a rate per second adds `rate` per nanosecond.
const SCALE: u128 = 1_000_000_000;

/// One running meter.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    config: MeterConfig,
    committed: u128,
    peak: u128,
    last: Option<Time>,
}

impl Meter {
    /// A meter with full buckets.
    pub fn new(config: MeterConfig) -> Self {
        Self {
            config,
            committed: u128::from(config.cburst) * SCALE,
            peak: u128::from(config.pburst) * SCALE,
            last: None,
        }
    }

    /// Its rates.
    pub fn config(&self) -> MeterConfig {
        self.config
    }

    /// Meters `amount` units.
    pub fn execute(&mut self, now: Time, amount: u64) -> Color {
        let elapsed = self
            .last
            .map_or(0, |last| u128::from(now.0.saturating_sub(last.0)));
        self.last = self.last.max(Some(now));
        let fill = |level: u128, rate: u64, burst: u64| {
            level
                .saturating_add(elapsed.saturating_mul(u128::from(rate)))
                .min(u128::from(burst) * SCALE)
        };
        self.committed = fill(self.committed, self.config.cir, self.config.cburst);
        self.peak = fill(self.peak, self.config.pir, self.config.pburst);
        let need = u128::from(amount) * SCALE;
        if self.peak < need {
            return Color::Red;
        }
        self.peak -= need;
        if self.committed < need {
            return Color::Yellow;
        }
        self.committed -= need;
        Color::Green
    }
}

/// An array of meters; only configured cells take room.
#[derive(Debug)]
pub(crate) struct MeterArray {
    size: u64,
    unit: MeterUnit,
    cells: RwLock<FxHashMap<u64, Mutex<Meter>>>,
}

impl MeterArray {
    /// An array of `size` meters without configuration.
    pub fn new(size: u64, unit: MeterUnit) -> Self {
        Self {
            size,
            unit,
            cells: RwLock::default(),
        }
    }

    /// Number of cells.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Meters one packet; `None` for an index out of range.
    pub fn execute(&self, index: u128, now: Time, bytes: u64) -> Option<Color> {
        let index = u64::try_from(index)
            .ok()
            .filter(|&index| index < self.size)?;
        let amount = if self.unit == MeterUnit::Packets {
            1
        } else {
            bytes
        };
        Some(
            self.cells
                .read()
                .get(&index)
                .map_or(Color::Green, |cell| cell.lock().execute(now, amount)),
        )
    }

    /// The cell's configuration.
    pub fn config(&self, index: u64) -> Result<Option<MeterConfig>, ExternError> {
        self.check(index)?;
        Ok(self
            .cells
            .read()
            .get(&index)
            .map(|cell| cell.lock().config()))
    }

    /// Configures the cell, with full buckets; `None` makes it always green.
    pub fn set_config(&self, index: u64, config: Option<MeterConfig>) -> Result<(), ExternError> {
        self.check(index)?;
        let mut cells = self.cells.write();
        match config {
            Some(config) => cells.insert(index, Mutex::new(Meter::new(config))),
            None => cells.remove(&index),
        };
        Ok(())
    }

    fn check(&self, index: u64) -> Result<(), ExternError> {
        if index < self.size {
            Ok(())
        } else {
            Err(ExternError::OutOfRange {
                index,
                size: self.size,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: MeterConfig = MeterConfig {
        cir: 100,
        cburst: 100,
        pir: 200,
        pburst: 300,
    };

    #[test]
    fn green_then_yellow_then_red_then_green_again() {
        let mut meter = Meter::new(CONFIG);
        assert_eq!(meter.execute(Time(0), 100), Color::Green);
        assert_eq!(meter.execute(Time(0), 100), Color::Yellow);
        assert_eq!(meter.execute(Time(0), 100), Color::Yellow);
        assert_eq!(meter.execute(Time(0), 1), Color::Red);
        assert_eq!(meter.execute(Time::from_secs(1), 100), Color::Green);
        assert_eq!(meter.execute(Time(0), 101), Color::Red);
    }

    #[test]
    fn array_without_configuration_is_green() {
        let array = MeterArray::new(2, MeterUnit::Packets);
        assert_eq!(array.execute(1, Time(0), 1500), Some(Color::Green));
        assert_eq!(array.execute(2, Time(0), 1500), None);
        assert_eq!(
            array.set_config(
                1,
                Some(MeterConfig {
                    cir: 0,
                    cburst: 1,
                    pir: 0,
                    pburst: 1
                })
            ),
            Ok(())
        );
        assert_eq!(array.execute(1, Time(0), 1500), Some(Color::Green));
        assert_eq!(array.execute(1, Time(0), 1500), Some(Color::Red));
        assert_eq!(
            array.set_config(2, None),
            Err(ExternError::OutOfRange { index: 2, size: 2 })
        );
    }
}
