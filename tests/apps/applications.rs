//! The applications, a file each.

mod directus;
mod nautobot;
mod powerdns;
mod prefect;
mod procrastinate;
mod redmine;
mod unleash;

use crate::application::Application;

/// All of them, in the order of the page.
pub const ALL: &[Application] = &[
    powerdns::POWERDNS,
    procrastinate::PROCRASTINATE,
    prefect::PREFECT,
    directus::DIRECTUS,
    unleash::UNLEASH,
    redmine::REDMINE,
    nautobot::NAUTOBOT,
];

/// Good for nothing but a cluster that is thrown away.
const SECRET: &str = "walk-through-the-weir";
