//! Every verb of recoup as one function. It never prints, exits or asks.
//!
//! The order of the modules is the floor order: a module uses only modules above it.

pub mod env;

pub mod secret;

pub mod config;

pub mod interpreter;

pub mod probe;

pub mod keys;

pub mod provenance;

pub mod discover;

pub mod export;

pub mod doctor;

pub mod sandbox;

pub mod point;

pub mod catalog;

pub mod pins;

pub mod check;

pub mod session;

pub mod signing;

pub mod attest;

pub mod audit;

pub mod replicate;

pub mod backup;

pub mod restore;

pub mod drill;

pub mod points;

pub mod hold;

mod clock;

pub mod retention;

pub mod verify;

pub mod status;
