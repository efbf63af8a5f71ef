mod crossed;
mod idle;
mod late;
mod runtimes;
mod stall;
mod tls;
