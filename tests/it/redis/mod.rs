mod connect;
mod connection;
mod faults;
mod neighbours;
mod scripts;
mod shared_client;
mod topology;
