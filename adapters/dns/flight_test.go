package dns

import "testing"

// A timer that comes when the flight has ended takes nobody, and does not leave the
// question looking asked: whoever joins next would wait for ever.
func TestTakenAfterTheEnd(t *testing.T) {
	f := flights{byKey: make(map[key][]waiter)}
	k := key{name: "www.example."}
	if !f.join(k, waiter{}) || f.join(k, waiter{}) {
		t.Fatal("the first asks, and nobody else")
	}
	if n := len(f.take(k)); n != 2 || f.join(k, waiter{}) {
		t.Fatalf("took %d; the question stays asked", n)
	}
	if n := len(f.end(k)); n != 1 {
		t.Fatalf("%d waited at the end", n)
	}
	if n := len(f.take(k)); n != 0 {
		t.Errorf("took %d after the end", n)
	}
	if !f.join(k, waiter{}) {
		t.Error("nobody asks again")
	}
}
