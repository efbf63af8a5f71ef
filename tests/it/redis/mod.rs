mod cluster;
mod connect;
mod crossed;
mod faults;
mod late;
mod shared_client;
mod start;
mod tls;
