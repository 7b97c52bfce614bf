package fault_test

import (
	"fmt"
	"log"

	"l3extract/l3conn"
	"l3extract/l3conn/fault"
)

// A link that loses every tenth packet that is written to it: the same ones in
// every run.
func Example() {
	a, b := l3conn.Pipe(0, 0)
	defer b.Close()
	bad, err := fault.New(a, &fault.Config{Seed: 1, Out: fault.Direction{Drop: 0.1}})
	if err != nil {
		log.Fatal(err)
	}
	defer bad.Close()
	for range 100 {
		bad.Write([]byte{0x45}) // a lost packet is no error
	}
	out := bad.Stats().Out
	fmt.Println(out.Packets, "written,", out.Dropped, "lost,", out.Delivered, "delivered")
	// Output: 100 written, 11 lost, 89 delivered
}
