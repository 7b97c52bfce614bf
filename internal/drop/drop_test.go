package drop

import (
	"maps"
	"regexp"
	"sync"
	"testing"
)

func TestNamesAreTotalUniqueAndStable(t *testing.T) {
	shape := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	seen := make(map[string]Cause)
	for c := None; c < count; c++ {
		name := c.String()
		if !shape.MatchString(name) {
			t.Errorf("cause %d has the name %q, want snake_case", c, name)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("causes %d and %d share the name %q", other, c, name)
		}
		seen[name] = c
	}
	if got := count.String(); got != "unknown" {
		t.Errorf("String of no cause = %q, want unknown", got)
	}
}

func TestCounters(t *testing.T) {
	var k Counters
	k.Add(None)
	k.Add(count)
	k.AddN(255, 7)
	if n := k.Total(); n != 0 {
		t.Fatalf("None and unknown causes were counted: %d", n)
	}
	if n := k.Load(255); n != 0 {
		t.Fatalf("Load of no cause = %d", n)
	}
	k.Add(Short)
	k.AddN(UDPQueueFull, 41)
	k.Add(UDPQueueFull)
	want := map[string]uint64{"short": 1, "udp_queue_full": 42}
	if got := k.Snapshot(); !maps.Equal(got, want) {
		t.Errorf("Snapshot = %v, want %v", got, want)
	}
	if k.Load(Short) != 1 || k.Load(UDPQueueFull) != 42 || k.Total() != 43 {
		t.Errorf("Load and Total disagree with what was added: %v", k.Snapshot())
	}
}

func TestAllYieldsEveryCauseAndStops(t *testing.T) {
	var k Counters
	k.Add(Version)
	var causes []Cause
	for c, n := range k.All() {
		if want := uint64(0); c == Version {
			want = 1
			if n != want {
				t.Errorf("All yields %d for %v, want %d", n, c, want)
			}
		}
		causes = append(causes, c)
	}
	if len(causes) != int(count)-1 || causes[0] != None+1 {
		t.Errorf("All yielded %d causes from %v, want %d", len(causes), causes[0], count-1)
	}
	for range k.All() {
		break
	}
}

func TestCountersAtOnce(t *testing.T) {
	var k Counters
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { // ends after its loop, awaited below
			for range 1000 {
				k.Add(L4Checksum)
			}
		})
	}
	wg.Wait()
	if n := k.Load(L4Checksum); n != 4000 {
		t.Errorf("counted %d, want 4000", n)
	}
}

func TestAddAllocatesNothing(t *testing.T) {
	var k Counters
	if n := testing.AllocsPerRun(100, func() { k.Add(Short) }); n != 0 {
		t.Errorf("Add allocates %v times", n)
	}
}
