//! The tables as pictures: one line per contender over the number of Services, both axes logarithmic; bars for the data
//! path, direct in grey and through the Service in colour.

use std::path::Path;
use std::time::Duration;

use plotters::prelude::*;

use super::contender::Kind;
use super::path;
use super::{Cost, Failed, Row};

const SIZE: (u32, u32) = (1100, 480);
const KINDS: [(Kind, RGBColor); 3] = [
    (Kind::Nicproxy, RGBColor(0, 110, 180)),
    (Kind::Nftables, RGBColor(210, 90, 0)),
    (Kind::Iptables, RGBColor(110, 110, 110)),
];

/// Draws cold start and one change side by side.
pub fn draw(rows: &[Row], file: &Path) -> Result<(), Failed> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(SIZE.0 / 2);
    panel(&left, "Cold start, seconds", rows, |cost| cost.cold_start)?;
    panel(&right, "One Service more, seconds", rows, |cost| {
        cost.one_more
    })?;
    area.present()?;
    Ok(())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    rows: &[Row],
    of: fn(&Cost) -> Duration,
) -> Result<(), Failed> {
    let measured = || {
        let rows = rows.iter();
        rows.filter_map(|row| Some((row.services, row.kind, row.cost.as_ref()?)))
    };
    let values = || measured().map(|(_, _, cost)| of(cost).as_secs_f64().max(1e-4));
    let low = values().fold(f64::MAX, f64::min) / 2.0;
    let high = values().fold(f64::MIN, f64::max) * 2.0;
    let services = || rows.iter().map(|row| row.services as f64);
    let (first, last) = (
        services().fold(f64::MAX, f64::min),
        services().fold(f64::MIN, f64::max),
    );
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(
            (first / 1.2..last * 1.2).log_scale(),
            (low..high).log_scale(),
        )
        .map_err(|error| error.to_string())?;
    chart
        .configure_mesh()
        .x_desc("Services")
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value}"))
        .draw()
        .map_err(|error| error.to_string())?;
    for (kind, color) in KINDS {
        let points: Vec<(f64, f64)> = measured()
            .filter(|(_, of_kind, _)| *of_kind == kind)
            .map(|(services, _, cost)| (services as f64, of(cost).as_secs_f64().max(1e-4)))
            .collect();
        chart
            .draw_series(LineSeries::new(points.clone(), color.stroke_width(2)).point_size(4))
            .map_err(|error| error.to_string())?
            .label(kind.to_string())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .draw()
        .map_err(|error| error.to_string())?;
    Ok(())
}

const DIRECT: RGBColor = RGBColor(170, 170, 170);
const SERVICE: RGBColor = RGBColor(0, 110, 180);

/// What a panel of bars shows, and how it is read from a row.
type Measure = (&'static str, fn(&path::Figures) -> f64);

/// Draws the data path: a panel per measure, a bar per contender and way.
pub fn draw_path(rows: &[path::Row], file: &Path) -> Result<(), Failed> {
    let area = SVGBackend::new(file, (1500, 1100)).into_drawing_area();
    area.fill(&WHITE)?;
    let measures: [Measure; 6] = [
        ("TCP, Gbit/s", |figures| figures.gigabits),
        ("64-byte datagrams/s", |figures| figures.datagrams),
        ("Connections/s", |figures| figures.connections),
        ("Request p50, µs", |figures| figures.p50),
        ("Request p99, µs", |figures| figures.p99),
        ("CPU µs per datagram", |figures| figures.cpu),
    ];
    let key = "grey: to a pod itself; blue: through a Service";
    let panels = area.titled(key, ("sans-serif", 16))?.split_evenly((3, 2));
    for (panel, (title, of)) in panels.iter().zip(measures) {
        bars(panel, title, rows, of)?;
    }
    area.present()?;
    Ok(())
}

fn bars(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    rows: &[path::Row],
    of: fn(&path::Figures) -> f64,
) -> Result<(), Failed> {
    let high = rows.iter().map(|row| of(&row.figures)).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(230)
        .build_cartesian_2d(0.0..high * 1.05, (0..rows.len()).into_segmented())
        .map_err(|error| error.to_string())?;
    // From top to bottom, as in the table.
    let drawn: Vec<&path::Row> = rows.iter().rev().collect();
    let name = |at: &SegmentValue<usize>| match at {
        SegmentValue::CenterOf(at) => match drawn.get(*at) {
            Some(row) if !row.service => row.name.clone(),
            _ => String::new(),
        },
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(rows.len() + 1)
        .y_label_formatter(&name)
        .y_label_style(("sans-serif", 12))
        .draw()
        .map_err(|error| error.to_string())?;
    let bars = drawn.iter().enumerate().map(|(at, row)| {
        let color = if row.service { SERVICE } else { DIRECT };
        let (low, top) = (SegmentValue::Exact(at), SegmentValue::Exact(at + 1));
        Rectangle::new([(0.0, low), (of(&row.figures), top)], color.filled())
    });
    chart.draw_series(bars).map_err(|error| error.to_string())?;
    Ok(())
}
