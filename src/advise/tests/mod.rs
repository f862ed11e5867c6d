//! The model against formulas, against a simulation, and against whatever data there may be.

mod accuracy;
mod clients;
mod erlang;
mod properties;
mod simulation;
mod size;
