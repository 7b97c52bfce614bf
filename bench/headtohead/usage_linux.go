package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is what /proc counts processor time in (USER_HZ, 100 on every Linux).
const tick = 10 * time.Millisecond

// tree lists a process and its descendants.
func tree(pid int) []int {
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i]))
		for _, name := range files {
			b, _ := os.ReadFile(name) // a thread that has just ended has none
			for field := range strings.FieldsSeq(string(b)) {
				if child, err := strconv.Atoi(field); err == nil {
					pids = append(pids, child)
				}
			}
		}
	}
	return pids
}

// cpuTime returns the processor time of a process, of its descendants, and of
// those children that it has waited for.
func cpuTime(pid int) (time.Duration, error) {
	var sum time.Duration
	for _, p := range tree(pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			return 0, err
		}
		t, err := parseStat(b)
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

// parseStat adds up the times in a line of /proc/PID/stat: fields 14 to 17, counted
// behind the name, which may hold anything.
func parseStat(b []byte) (time.Duration, error) {
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 15 {
		return 0, fmt.Errorf("/proc/PID/stat holds %q", b)
	}
	var ticks int64
	for _, f := range fields[11:15] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// resident returns the bytes of memory that a process and its descendants hold.
func resident(pid int) (float64, error) {
	sum := 0
	for _, p := range tree(pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p))
		if err != nil {
			return 0, err
		}
		fields := strings.Fields(string(b))
		if len(fields) < 2 {
			return 0, fmt.Errorf("/proc/PID/statm holds %q", b)
		}
		pages, err := strconv.Atoi(fields[1])
		if err != nil {
			return 0, err
		}
		sum += pages * os.Getpagesize()
	}
	return float64(sum), nil
}

// pin keeps every thread of a process on one processor.
func pin(pid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return affinity(pid, &set)
}

// affinity sets the processors of every thread of a process and its descendants.
func affinity(pid int, set *unix.CPUSet) error {
	var err error
	for _, p := range tree(pid) {
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", p))
		for _, task := range tasks {
			tid, _ := strconv.Atoi(task.Name())
			if e := unix.SchedSetaffinity(tid, set); e != nil && !errors.Is(e, unix.ESRCH) {
				err = errors.Join(err, e)
			}
		}
	}
	return err
}
