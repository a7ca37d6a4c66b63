//! The figures, for people.

use super::{
    Record, burst::Burst, failover::Failover, idle::Idle, rolling::Rolling, single::Single,
};
use crate::bench::{
    figures::Series,
    sheet::{Sheet, number},
    table,
};

/// kured 1.23, tuned to a period of 30 s, on such a control plane: 10 nodes one at a time, with a boot of
/// 3 s, in seconds; and what each node pays for it, in MiB.
const KURED: (f64, f64) = (735.0, 39.0);

/// Prints everything, the conditions first.
pub fn print(record: &Record, markdown: bool) {
    table::conditions(&record.conditions);
    raw(record).print(markdown);
    let sheets = [
        record.single.as_ref().map(single),
        (!record.bursts.is_empty()).then(|| bursts(&record.bursts)),
        (!record.rolling.is_empty()).then(|| rolling(&record.rolling)),
        compared(record),
        record.idle.as_deref().map(idle),
        (!record.failover.is_empty()).then(|| failover(&record.failover)),
    ];
    sheets.iter().flatten().for_each(|sheet| sheet.print(markdown));
    for violation in &record.violations {
        anstream::println!("\u{1b}[31mviolation\u{1b}[0m: {violation}");
    }
    anstream::println!("violations: {}", record.violations.len());
}

const TIMES: [&str; 5] = ["", "n", "p50", "p99", "max"];

fn times(name: &str, series: &Series) -> [String; 5] {
    let [p50, p99] = [50, 99].map(|percent| number(series.percentile(percent), 1));
    [name.to_owned(), series.len().to_string(), p50, p99, number(series.max(), 1)]
}

fn raw(record: &Record) -> Sheet {
    let raw = &record.raw;
    let mut sheet = Sheet::new("without an operator, in ms", &TIMES);
    sheet.row(times("one PATCH of a node", &raw.single));
    let rate = raw.patches as f64 / raw.burst;
    let made = record.made;
    sheet.note(format!(
        "{} PATCHes, 64 in flight: {:.2} s, {rate:.0}/s. The nodes were made and Ready in {made:.0} s.",
        raw.patches, raw.burst
    ));
    sheet
}

fn single(single: &Single) -> Sheet {
    let mut sheet = Sheet::new("one run after the other, in ms", &TIMES);
    sheet.row(times("condition -> cordon", &single.condition_to_cordon));
    single.stages.iter().for_each(|(name, series)| sheet.row(times(name, series)));
    sheet.row(times("condition -> uncordon, less the machine", &single.overhead));
    sheet.note(format!("Requests of both operators per run: {:.1}.", single.requests));
    sheet
}

fn bursts(all: &[Burst]) -> Sheet {
    let columns = [
        "budget",
        "conditions",
        "within, s",
        "allowed",
        "last condition -> last cordon, s",
        "first -> last, s",
        "middle, s",
        "starts",
        "inversions",
        "requests per start",
    ];
    let mut sheet = Sheet::new("a burst", &columns);
    for burst in all {
        let Burst { conditions, allowed, starts, inversions, .. } = burst;
        sheet.row([
            burst.budget.to_owned(),
            conditions.to_string(),
            number(Some(burst.span), 2),
            allowed.to_string(),
            number(Some(burst.last), 2),
            number(Some(burst.all), 2),
            number(Some(burst.middle), 2),
            starts.to_string(),
            inversions.to_string(),
            number(Some(burst.requests), 1),
        ]);
    }
    sheet
}

fn rolling(all: &[Rolling]) -> Sheet {
    let columns = [
        "budget",
        "nodes",
        "took, s",
        "ideal, s",
        "E",
        "overhead p50, ms",
        "p99, ms",
        "requests per run",
        "inversions",
    ];
    let mut sheet = Sheet::new("rolling reboots", &columns);
    for rolling in all {
        let [p50, p99] = [50, 99].map(|percent| number(rolling.overhead.percentile(percent), 0));
        sheet.row([
            rolling.budget.to_owned(),
            rolling.nodes.to_string(),
            number(Some(rolling.took), 1),
            number(Some(rolling.ideal), 1),
            number(Some(rolling.ideal / rolling.took), 2),
            p50,
            p99,
            number(Some(rolling.requests), 1),
            rolling.inversions.to_string(),
        ]);
    }
    sheet.note(
        "Boots of 3 s ± 30 %. The ideal is a time that no schedule of the boots that were drawn stays \
         below. Overhead: slot -> uncordon, less what the machine took by itself.",
    );
    sheet
}

/// The same setting as kured's.
fn compared(record: &Record) -> Option<Sheet> {
    let ours = record.rolling.iter().find(|rolling| rolling.budget == "1 node")?;
    let columns = ["", "took, s", "ideal, s", "memory"];
    let mut sheet = Sheet::new("10 nodes one at a time, boot 3 s", &columns);
    let (took, memory) = KURED;
    let resident = record.idle.iter().flatten();
    let resident: f64 = resident.map(|idle| idle.resident.0).sum();
    sheet.row([
        format!("Rerail, {} nodes", ours.nodes),
        number(Some(ours.took), 1),
        number(Some(ours.ideal), 1),
        match record.idle {
            Some(_) => format!("{resident:.0} MiB, both operators"),
            None => "-".to_owned(),
        },
    ]);
    sheet.row([
        "kured 1.23, period 30 s".to_owned(),
        number(Some(took), 0),
        "about 50".to_owned(),
        format!("{memory:.0} MiB per node"),
    ]);
    sheet.note("kured's figures are given, not measured here: the same kind of control plane.");
    Some(sheet)
}

fn idle(all: &[Idle]) -> Sheet {
    let columns = ["", "requests/s", "resident, MiB", "peak, MiB", "% of a core", "requests"];
    let mut sheet = Sheet::new("nothing happens", &columns);
    for idle in all {
        let kinds: Vec<_> =
            idle.kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let (resident, peak) = idle.resident;
        sheet.row([
            idle.role.to_owned(),
            number(Some(idle.requests), 2),
            number(Some(resident), 1),
            number(Some(peak), 1),
            number(Some(idle.cpu), 2),
            kinds.join(", "),
        ]);
    }
    sheet
}

fn failover(all: &[Failover]) -> Sheet {
    let mut sheet = Sheet::new("the leader is killed, in ms", &TIMES);
    for failover in all {
        let (duration, deadline, retry) = failover.lease;
        let lease = format!("Lease {duration}/{deadline}/{retry} s");
        let parts = [
            ("SIGKILL -> another holder", &failover.holder),
            ("-> first effect", &failover.effect),
            ("SIGKILL -> first effect", &failover.all),
        ];
        for (name, series) in parts {
            sheet.row(times(&format!("{lease}: {name}"), series));
        }
    }
    sheet
}
