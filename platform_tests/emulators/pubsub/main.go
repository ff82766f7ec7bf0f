// Google's in-memory Pub/Sub, as gRPC on the address that its one argument tells.
package main

import (
	"os"

	"cloud.google.com/go/pubsub/v2/pstest"
)

func main() {
	pstest.NewServerWithAddress(os.Args[1])
	select {}
}
