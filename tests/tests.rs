mod image;
mod tidy;
