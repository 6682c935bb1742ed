// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// disk is a file that can hang or fail.
type disk struct {
	mu     sync.Mutex
	data   bytes.Buffer
	closed bool
	hang   chan struct{} // if set, a write waits for it to be closed
	room   int           // if failing, bytes until it is full
	full   bool
}

func (d *disk) Write(b []byte) (int, error) {
	if d.hang != nil {
		<-d.hang
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full && len(b) > d.room {
		n := d.room
		d.data.Write(b[:n])
		d.room = 0
		return n, errors.New("no space left")
	}
	return d.data.Write(b)
}

func (d *disk) Close() error { d.mu.Lock(); defer d.mu.Unlock(); d.closed = true; return nil }

func (d *disk) text() string { d.mu.Lock(); defer d.mu.Unlock(); return d.data.String() }

func on(t *testing.T, workers int, d ...*disk) *Writer {
	t.Helper()
	w, err := newWriter(workers, func() (io.WriteCloser, error) {
		if len(d) == 0 {
			return nil, errors.New("no such directory")
		}
		out := d[0]
		d = d[1:]
		return out, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestLinesAreInTheFileWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		w := on(t, 2, d)
		w.Append(0, []byte("a\n"))
		w.Append(1, []byte("b\n"))
		w.Append(0, []byte("c\n"))
		<-time.After(time.Second) // the bubble's clock
		synctest.Wait()
		if got := d.text(); got != "a\nc\nb\n" {
			t.Errorf("the file has %q", got)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestManyLinesAreWrittenBeforeTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		w := on(t, 1, d)
		line := []byte(strings.Repeat("x", 1023) + "\n")
		for range flushAt / len(line) {
			w.Append(0, line)
		}
		synctest.Wait() // no time passes
		if got := len(d.text()); got != flushAt {
			t.Errorf("%d bytes written, want %d", got, flushAt)
		}
		_ = w.Close()
	})
}

func TestAHungDiskCostsLinesAndNoTimeAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{hang: make(chan struct{})}
		w := on(t, 1, d)
		line := []byte(strings.Repeat("x", 1023) + "\n")
		const n = 4 * MaxBuffered / 1024
		start := time.Now()
		for range n {
			w.Append(0, line)
		}
		synctest.Wait()
		if time.Since(start) != 0 {
			t.Error("Append waited")
		}
		lost := w.Lost()
		if lost < n-2*MaxBuffered/1024 || lost >= n {
			t.Errorf("%d of %d lines lost, want what two buffers do not hold", lost, n)
		}
		close(d.hang)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if got := int64(strings.Count(d.text(), "\n")); got != n-lost {
			t.Errorf("%d lines in the file, %d lost, of %d", got, lost, n)
		}
		if w.Lost() != lost {
			t.Errorf("%d lines lost after recovery", w.Lost()-lost)
		}
	})
}

func TestCloseOfAHungDiskEndsAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{hang: make(chan struct{})}
		w := on(t, 1, d)
		w.Append(0, []byte("x\n"))
		start := time.Now()
		if err := w.Close(); err == nil || time.Since(start) != closeWait {
			t.Errorf("Close returned %v after %v", err, time.Since(start))
		}
		close(d.hang)
		synctest.Wait()
	})
}

func TestAFullDiskIsCountedByLineAndTheNextLineStartsAfresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{full: true, room: 6}
		w := on(t, 1, d)
		for _, l := range []string{"one\n", "two\n", "three\n"} {
			w.Append(0, []byte(l))
		}
		<-time.After(time.Second)
		synctest.Wait()
		if w.Lost() != 2 || w.Err() == nil {
			t.Errorf("lost %d, err %v; want the 2 lines that are not whole", w.Lost(), w.Err())
		}
		w.Append(0, []byte("four\n"))
		<-time.After(time.Second)
		synctest.Wait()
		if w.Lost() != 3 {
			t.Errorf("lost %d, want 3: still full", w.Lost())
		}
		d.mu.Lock()
		d.full = false
		d.mu.Unlock()
		w.Append(0, []byte("five\n"))
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if got := d.text(); got != "one\ntw\nfive\n" {
			t.Errorf("the file has %q", got)
		}
	})
}

func TestLinesAfterCloseAreLost(t *testing.T) {
	d := &disk{}
	w := on(t, 1, d)
	for range 2 {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	w.Append(0, []byte("late\n"))
	if w.Lost() != 1 || d.text() != "" || !d.closed {
		t.Errorf("lost %d, file %q, closed %v", w.Lost(), d.text(), d.closed)
	}
}

func TestReopenWritesOnToTheNewFileAndClosesTheOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, unused, second := &disk{}, &disk{}, &disk{}
		w := on(t, 1, first, unused, second)
		w.Append(0, []byte("old\n"))
		<-time.After(time.Second)
		synctest.Wait()
		for range 2 {
			if err := w.Reopen(); err != nil {
				t.Error(err)
			}
		}
		w.Append(0, []byte("new\n"))
		<-time.After(time.Second)
		synctest.Wait()
		if first.text() != "old\n" || !first.closed || second.text() != "new\n" || second.closed {
			t.Errorf("first %q closed %v, second %q closed %v", first.text(), first.closed, second.text(), second.closed)
		}
		if unused.text() != "" || !unused.closed {
			t.Errorf("unused %q closed %v", unused.text(), unused.closed)
		}
		if err := w.Reopen(); err == nil {
			t.Error("a file that cannot be opened gave no error")
		}
		w.Append(0, []byte("on\n"))
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if second.text() != "new\non\n" || !second.closed {
			t.Errorf("second %q closed %v", second.text(), second.closed)
		}
	})
}

func TestReopenAfterCloseLeavesNothingOpen(t *testing.T) {
	first, second := &disk{}, &disk{}
	w := on(t, 1, first, second)
	_ = w.Close()
	if err := w.Reopen(); err != nil || !second.closed {
		t.Errorf("Reopen: %v; closed %v", err, second.closed)
	}
}

func TestOpenAppendsToAFileAndFollowsARotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := Open(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := w.Reopen(); err != nil {
		t.Fatal(err)
	}
	w.Append(0, []byte("line\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{path: "line\n", path + ".1": "before\n"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := Open(filepath.Join(path, "x"), 1); err == nil || !strings.Contains(err.Error(), "access.log") {
		t.Errorf("error %v, want one naming the file", err)
	}
}

func TestLinesOfManyWorkersStayWhole(t *testing.T) {
	const workers, each = 4, 5000
	d := &disk{}
	w := on(t, workers, d)
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for n := range each {
				w.Append(i, fmt.Appendf(nil, "%d %d\n", i, n))
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	next := make([]int, workers)
	for line := range strings.Lines(d.text()) {
		var i, n int
		if _, err := fmt.Sscanf(line, "%d %d\n", &i, &n); err != nil || n < next[i] {
			t.Fatalf("line %q: %v", line, err)
		}
		next[i] = n + 1
	}
	if got := int64(strings.Count(d.text(), "\n")) + w.Lost(); got != workers*each {
		t.Errorf("%d lines written or lost, want %d", got, workers*each)
	}
}

func TestAppendAllocatesNothingOnceItsBuffersHaveGrown(t *testing.T) {
	w := on(t, 1, &disk{})
	w.workers[0].mu.Lock()
	w.workers[0].full = make([]byte, 0, MaxBuffered)
	w.workers[0].mu.Unlock()
	line := []byte("x\n")
	if n := testing.AllocsPerRun(100, func() { w.Append(0, line) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	_ = w.Close()
}
