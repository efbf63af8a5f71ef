mod addresses;
mod cluster;
mod replica;
mod start;
