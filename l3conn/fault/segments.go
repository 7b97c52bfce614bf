package fault

import (
	"syscall"

	"l3extract/l3conn"
)

// offloader is what is left of an l3conn.Offloader: segments where a direction is
// handed through, and packets where it is not.
type offloader struct{ c *Conn }

func (o offloader) Offload() (read, write l3conn.Features) {
	read, write = o.c.below.Offloader.Offload()
	if o.c.faultyIn {
		read = 0 // nothing is enabled below, so that finished packets come
	}
	return read, write
}

func (o offloader) EnableOffload(read l3conn.Features) error {
	if !o.c.faultyIn {
		return o.c.below.Offloader.EnableOffload(read)
	}
	if read != 0 {
		return opError("set", syscall.EINVAL)
	}
	return nil
}

func (o offloader) SegmentBatch() int {
	if o.c.faultyIn {
		return batchSize
	}
	return o.c.below.Offloader.SegmentBatch()
}

func (o offloader) ReadSegments(segs []l3conn.Segment) (int, error) {
	if o.c.faultyIn {
		return o.c.readSegments(segs)
	}
	return o.c.below.Offloader.ReadSegments(segs)
}

func (o offloader) WriteSegments(segs []l3conn.Segment) (int, error) {
	if o.c.faultyOut {
		return o.c.writeSegments(segs)
	}
	return o.c.below.Offloader.WriteSegments(segs)
}
