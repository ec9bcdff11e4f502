"""What the bench measures: each subject starts its own servers, says where it answers, and stops them."""
