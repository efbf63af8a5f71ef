//! Faults with a load of their own, since what they break is not seen in the load of the other rows.

mod burst;
mod idle;
mod page;
mod replica;
mod runtimes;
mod short_outage;

pub(crate) const NAMES: [&str; 5] = [
    "replica with writers",
    "short outage in a load",
    "idle proxy",
    "burst of 2,000",
    "second runtime",
];

/// Makes the row of this name. True when a promise was broken.
pub(crate) async fn suffer(name: &'static str) -> bool {
    let case = match name {
        "replica with writers" => replica::suffer(name).await,
        "short outage in a load" => short_outage::suffer(name).await,
        "idle proxy" => idle::suffer(name).await,
        "burst of 2,000" => burst::suffer(name).await,
        _ => runtimes::suffer(name).await,
    };
    case.end()
}
