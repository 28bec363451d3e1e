//! The web console over plain HTTP/1.1, as a browser without a script sees it.

mod access;
mod actions;
mod browser;
mod event_stream;
mod foreign;
mod hostile;
mod live;
mod looking;
mod pages;
mod sessions;
