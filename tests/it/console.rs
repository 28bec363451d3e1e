//! The web console over plain HTTP/1.1, as a browser without a script sees it.

mod access;
mod actions;
mod administering;
mod archive;
mod browser;
mod comparing;
mod drafting;
mod event_stream;
mod foreign;
mod form_tokens;
mod hostile;
mod impact;
mod links;
mod live;
mod looking;
mod oidc;
mod pages;
mod queries;
mod searching;
mod sessions;
mod shown_form;
