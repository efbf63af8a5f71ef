mod limits;
mod loads;
mod reads;
