mod loads;
