package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

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

// cpuTime returns the processor time that a process and its descendants have taken,
// threads that have ended included. The clock of a process counts nanoseconds, where
// /proc counts hundredths of a second; clock_getcpuclockid(3) makes its number so.
func cpuTime(pid int) (time.Duration, error) {
	const scheduler = 2 // CPUCLOCK_SCHED
	var sum time.Duration
	for _, p := range tree(pid) {
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^p)<<3|scheduler, &t); err != nil {
			return 0, os.NewSyscallError("clock_gettime", err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum, nil
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

// switches counts, by thread, how often the threads of a process and its descendants
// have given up a processor, of their own will or not.
func switches(pid int) (map[string]int, error) {
	counts := make(map[string]int)
	for _, p := range tree(pid) {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p))
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				continue // it has just ended
			}
			if counts[name], err = parseSwitches(string(b)); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if len(counts) == 0 {
		return nil, fmt.Errorf("process %d has no threads", pid)
	}
	return counts, nil
}

// parseSwitches adds up the two counts in a /proc/PID/task/TID/status.
func parseSwitches(status string) (sum int, err error) {
	found := 0
	for line := range strings.Lines(status) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.HasSuffix(key, "voluntary_ctxt_switches") {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				return 0, err
			}
			sum += n
			found++
		}
	}
	if found != 2 {
		return 0, errors.New("no counts of context switches")
	}
	return sum, nil
}

// switchesSince is what has been added since the counts in before.
func switchesSince(before, after map[string]int) (sum int) {
	for name, n := range after {
		sum += n - before[name]
	}
	return sum
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
