mod loads;
mod reads;
