// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// MaxBuffered is what one worker's lines may take while they wait, and once more while they are written.
	MaxBuffered = 1 << 20

	flushAt    = 64 << 10               // a worker's bytes that wake the flusher before its interval ends
	flushEvery = 500 * time.Millisecond // lines are in the file within 1 s of their Append
	closeWait  = 2 * time.Second
)

// Writer brings whole lines of several workers to one file. Append only copies; a goroutine of the Writer's own
// writes, so a slow or hung disk costs lines, which are counted, and never a worker's time. Lines of one worker keep
// their order.
type Writer struct {
	workers []*lines
	open    func() (io.WriteCloser, error)
	lost    atomic.Int64
	wake    chan struct{} // capacity 1
	stop    chan struct{}
	done    chan struct{}
	closing sync.Once
	next    atomic.Pointer[sink] // opened by Reopen, taken by the flusher
	failed  atomic.Pointer[error]

	// Owned by the flusher.
	out  io.WriteCloser
	torn bool // the file ends within a line
}

// sink is a box for an interface in an atomic pointer.
type sink struct{ io.WriteCloser }

// lines is one worker's buffer.
type lines struct {
	mu     sync.Mutex // held for one append or one swap
	full   []byte     // being filled
	closed bool

	spare []byte // owned by the flusher: empty, or being written
}

// Open returns a Writer for the workers 0..workers-1 that appends to the file path, creating it if need be; "-" is the
// standard output, which Close does not close.
func Open(path string, workers int) (*Writer, error) {
	return newWriter(workers, func() (io.WriteCloser, error) {
		if path == "-" {
			return stdout{os.Stdout}, nil
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err == nil {
			endLine(f)
		}
		return f, err
	})
}

// endLine ends a line that a process which was killed, or a full disk, left unended.
func endLine(f *os.File) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return
	}
	r, err := os.Open(f.Name())
	if err != nil {
		return // it may be written only: nobody can tell
	}
	defer r.Close()
	var last [1]byte
	if _, err := r.ReadAt(last[:], info.Size()-1); err == nil && last[0] != '\n' {
		_, _ = f.Write([]byte{'\n'}) // if that fails so will the lines, and be counted
	}
}

type stdout struct{ io.Writer }

func (stdout) Close() error { return nil }

func newWriter(workers int, open func() (io.WriteCloser, error)) (*Writer, error) {
	out, err := open()
	if err != nil {
		return nil, fmt.Errorf("open access log: %w", err)
	}
	w := &Writer{
		open: open, out: out,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	for range workers {
		w.workers = append(w.workers, new(lines))
	}
	go w.run()
	return w, nil
}

// Append takes a copy of line, which ends with its only newline. It never waits for the file: what does not fit in
// MaxBuffered, and what comes after Close, is lost and counted.
func (w *Writer) Append(worker int, line []byte) {
	l := w.workers[worker]
	l.mu.Lock()
	if l.closed || len(l.full)+len(line) > MaxBuffered {
		l.mu.Unlock()
		w.lost.Add(1)
		return
	}
	before := len(l.full)
	l.full = append(l.full, line...)
	after := len(l.full)
	l.mu.Unlock()
	if before < flushAt && after >= flushAt {
		w.Flush()
	}
}

// Lost returns how many lines did not reach the file: for lack of room, for a write that failed, or after Close.
func (w *Writer) Lost() int64 { return w.lost.Load() }

// Err returns the last write's error, nil if it went well.
func (w *Writer) Err() error {
	if err := w.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Reopen opens the file by its name again, as after a rotation; lines not written yet go to the new one. If that
// fails the old file stays in use. It waits for no write.
func (w *Writer) Reopen() error {
	out, err := w.open()
	if err != nil {
		return fmt.Errorf("reopen access log: %w", err)
	}
	if untaken := w.next.Swap(&sink{out}); untaken != nil {
		_ = untaken.Close() // nothing was written to it
	}
	w.Flush()
	select {
	case <-w.done:
		w.closeNext() // nobody takes it any more
	default:
	}
	return nil
}

// closeNext closes what Reopen opened and the flusher did not take; nothing was written to it.
func (w *Writer) closeNext() {
	if untaken := w.next.Swap(nil); untaken != nil {
		_ = untaken.Close()
	}
}

// Close writes what is buffered and closes the file. If the file does not take it within 2 s, Close returns an error
// and leaves the rest to its fate.
func (w *Writer) Close() error {
	w.closing.Do(func() {
		for _, l := range w.workers {
			l.mu.Lock()
			l.closed = true
			l.mu.Unlock()
		}
		close(w.stop)
	})
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-w.done:
		return w.Err()
	case <-timer.C:
		return errors.New("close access log: buffered lines not written within " + closeWait.String())
	}
}

// Flush has what is buffered written soon. It waits for nothing.
func (w *Writer) Flush() {
	select {
	case w.wake <- struct{}{}:
	default: // it is awake
	}
}

func (w *Writer) run() {
	defer w.closeNext()
	defer close(w.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for ending := false; !ending; {
		select {
		case <-tick.C:
		case <-w.wake:
		case <-w.stop:
			ending = true
		}
		if fresh := w.next.Swap(nil); fresh != nil {
			w.fail(w.out.Close())
			w.out, w.torn = fresh.WriteCloser, false
		}
		for _, l := range w.workers {
			l.mu.Lock()
			l.full, l.spare = l.spare[:0], l.full
			l.mu.Unlock()
			w.write(l.spare)
		}
	}
	if err := w.out.Close(); err != nil {
		w.fail(err)
	}
}

// write writes whole lines. After a short write the next one starts on a line of its own.
func (w *Writer) write(b []byte) {
	if len(b) == 0 {
		return
	}
	if w.torn {
		if _, err := w.out.Write([]byte{'\n'}); err != nil {
			w.fail(err)
			w.lost.Add(int64(bytes.Count(b, []byte{'\n'})))
			return
		}
		w.torn = false
	}
	n, err := w.out.Write(b)
	w.fail(err)
	if err != nil {
		n = min(max(n, 0), len(b))
		w.lost.Add(int64(bytes.Count(b[n:], []byte{'\n'})))
		w.torn = n > 0 && b[n-1] != '\n'
	}
}

// fail keeps the last outcome.
func (w *Writer) fail(err error) {
	if err == nil {
		w.failed.Store(nil)
	} else {
		w.failed.Store(&err)
	}
}
