package link

import (
	"testing"

	"l3extract/internal/drop"
)

// TestShares: each class has a share of its own, and what is beyond it is dropped
// and counted, exactly.
func TestShares(t *testing.T) {
	for _, tc := range []struct {
		name  string
		class Class
		size  int // of a packet
		frame int // of its frame
		share int
		cause drop.Cause
	}{
		{"control", Control, 40, smallFrame, controlShare, drop.ControlQueueFull},
		{"datagrams", Datagram, 1500, 1500, datagramShare, drop.DatagramQueueFull},
		{"small datagrams", Datagram, 60, smallFrame, datagramShare, drop.DatagramQueueFull},
		{"data", Data, 1500, 1500, softData + frameFactor*64<<10, drop.DataQueueFull},
		{"acknowledgements", Data, 52, smallFrame, softData + frameFactor*64<<10, drop.DataQueueFull},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(newFake(), 1500)
			fits := tc.share / tc.frame
			for i := range fits {
				if !r.send(tc.size, 0, tc.class) {
					t.Fatalf("packet %d of %d dropped", i, fits)
				}
			}
			for range 7 {
				if r.send(tc.size, 0, tc.class) {
					t.Fatal("a packet beyond the share was taken")
				}
			}
			r.want(t, map[drop.Cause]uint64{tc.cause: 7})
			// The others have room.
			for _, c := range []Class{Data, Control, Datagram} {
				if c != tc.class && !r.send(40, 0, c) {
					t.Errorf("class %d has no room", c)
				}
			}
			// What is written gives its room back.
			frames := make([]*Frame, 2)
			if n := r.queue.pop(frames); n != 2 {
				t.Fatal(n)
			}
			if r.send(tc.size, 0, tc.class) {
				t.Error("a packet that is being written counts no more")
			}
			r.queue.done(frames)
			if !r.send(tc.size, 0, tc.class) {
				t.Error("no room after a packet was written")
			}
		})
	}
}

// TestDataGrows: the hard limit follows what is granted for sending, and below
// softData nothing is dropped whatever is granted.
func TestDataGrows(t *testing.T) {
	r := newRig(newFake(), 1500)
	r.granted = 0
	for i := range softData/1500 + 1 {
		if !r.send(1500, 0, Data) {
			t.Fatalf("packet %d dropped below the soft limit", i)
		}
	}
	if r.send(1500, 0, Data) {
		t.Error("taken with nothing granted")
	}
	r.granted = 1 << 20
	if !r.send(1500, 0, Data) {
		t.Error("dropped below what is granted")
	}
}

// TestLargeMTU: on a link for 64 KiB packets a small segment must not cost 64 KiB
// of the queue, or a few of them would count as congestion and then be dropped.
func TestLargeMTU(t *testing.T) {
	r := newRig(newFake(), 65535)
	for i := range 1000 {
		if !r.send(300, 0, Data) {
			t.Fatalf("segment %d of 300 bytes dropped", i)
		}
	}
	if _, yes := r.Congested(); yes {
		t.Errorf("300 kB are congestion: %d bytes counted", r.queue.bytes[Data])
	}
	for _, n := range []int{1, smallFrame, smallFrame + 1, 1400, 9000, 32768, 65535} {
		f := r.Frame(n)
		if have := len(f.Bytes()); have < n || have > max(2*n, smallFrame) {
			t.Errorf("a packet of %d bytes has a frame of %d", n, have)
		}
		f.free()
	}
	if f := r.Frame(70000); len(f.Bytes()) != 70000 {
		t.Errorf("beyond the MTU: %d", len(f.Bytes()))
	}
}

// TestCongestion: streams are asked to wait above softData, and woken once half of
// it is left, at the latest by the end.
func TestCongestion(t *testing.T) {
	r := newRig(newFake(), 1500)
	r.granted = 1 << 30
	if _, yes := r.Congested(); yes {
		t.Fatal("congested while empty")
	}
	for range softData / 1500 {
		r.send(1500, 0, Data)
	}
	for range datagramShare / 1500 { // only data counts
		r.send(1500, 0, Datagram)
	}
	if _, yes := r.Congested(); yes {
		t.Fatal("congested at the soft limit")
	}
	r.send(1500, 0, Data)
	clear, yes := r.Congested()
	if !yes {
		t.Fatal("not congested above the soft limit")
	}
	frames := make([]*Frame, 1)
	for r.queue.bytes[Data] >= softData/2 {
		select {
		case <-clear:
			t.Fatalf("woken with %d bytes left", r.queue.bytes[Data])
		default:
		}
		if r.queue.pop(frames) == 0 {
			t.Fatal("queue empty too early")
		}
		r.queue.done(frames)
	}
	<-clear
	if _, yes := r.Congested(); yes {
		t.Fatal("still congested")
	}
	for range softData / 1500 {
		r.send(1500, 0, Data)
	}
	clear, yes = r.Congested()
	if !yes {
		t.Fatal("not congested the second time")
	}
	r.Stop()
	<-clear
	if _, yes := r.Congested(); yes {
		t.Fatal("congested after Stop: nobody would ever be woken")
	}
}

// TestFrameWrite: a frame takes what it has room for and says when it has none.
func TestFrameWrite(t *testing.T) {
	r := newRig(newFake(), 1500)
	f := r.Frame(192)
	f.SetLen(0)
	if n, err := f.Write(make([]byte, 100)); n != 100 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := f.Write(make([]byte, 100)); n != 92 || err == nil {
		t.Fatal(n, err)
	}
	if len(f.packet()) != 192 {
		t.Fatal(len(f.packet()))
	}
}
