module malacate/googlesql

go 1.25.0

// GoogleSQL's analyzer as Go source; 0.3.0 is its revision of 2026-01-31.
require github.com/goccy/go-googlesql v0.3.0

require github.com/goccy/googlesqlwasm2go v0.1.0 // indirect
