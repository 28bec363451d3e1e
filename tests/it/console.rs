//! The web console over plain HTTP/1.1, as a browser without a script sees it.

mod access;
mod browser;
mod event_stream;
mod foreign;
mod hostile;
mod live;
mod looking;
mod oidc;
mod pages;
mod sessions;
