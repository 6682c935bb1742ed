// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

func wait[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("waited in vain")
	}
	return v
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// outcome is how an offer ended.
type outcome struct {
	used []string
	err  error
}

// predecessor waits at a door and offers the sockets to everybody who asks.
type predecessor struct {
	door *Door
	ends chan outcome
	done chan struct{}
}

func serve(t *testing.T, d *Door, sockets ...Socket) *predecessor {
	t.Helper()
	p := &predecessor{door: d, ends: make(chan outcome, 8), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		d.Serve(func(v *Visitor) bool {
			used, err := v.Offer(sockets, "so")
			var names []string
			for name := range used {
				names = append(names, name)
			}
			slices.Sort(names)
			if err == nil {
				d.Close() // as a process does that begins to drain at once
			}
			p.ends <- outcome{names, err}
			return err == nil
		})
	}()
	t.Cleanup(func() { d.Close(); <-p.done })
	return p
}

func open(t *testing.T, path string) *Door {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func doorPath(t *testing.T) string { t.Helper(); return filepath.Join(t.TempDir(), "door") }

func ask(t *testing.T, path string) *Heritage {
	t.Helper()
	h, err := Ask(path)
	if err != nil || h == nil {
		t.Fatalf("%v, %v", h, err)
	}
	t.Cleanup(h.Close)
	return h
}

func TestSuccessorGetsTheVerySocketsAndTheDoor(t *testing.T) {
	a, b, path := listen(t), listen(t), doorPath(t)
	p := serve(t, open(t, path), Socket{"a", a}, Socket{"b", b})
	waiting, err := net.Dial("tcp", a.Addr().String()) // in the queue, whoever takes it
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	h := ask(t, path)
	if h.State() != "so" {
		t.Errorf("state %q", h.State())
	}
	f := h.Use("a")
	if f == nil || h.Use("a") != nil || h.Use("c") != nil {
		t.Fatal("not exactly what was offered")
	}
	defer f.Close()
	door, err := h.Ready()
	if err != nil {
		t.Fatal(err)
	}
	if got := wait(t, p.ends); got.err != nil || !slices.Equal(got.used, []string{"a", doorName}) {
		t.Errorf("the predecessor: %v", got)
	}
	wait(t, p.done)
	p.door.Close()
	a.Close()
	l, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.RemoteAddr().String() != waiting.LocalAddr().String() {
		t.Error("another connection than the one that waited")
	}
	// And the next one at the same door.
	next := serve(t, door, Socket{"a", l.(syscall.Conn)})
	if h := ask(t, path); h.Use("a") == nil {
		t.Error("nothing at the door that passed on")
	} else {
		h.Close()
	}
	if got := wait(t, next.ends); got.err == nil {
		t.Error("handed over to one that left")
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	door.Close()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the path stays: %v", err)
	}
}

func TestNobodyAtThePathIsNoError(t *testing.T) {
	path := doorPath(t)
	if h, err := Ask(path); h != nil || err != nil {
		t.Errorf("%v, %v", h, err)
	}
	d := open(t, path)
	_ = d.l.Close() // as if the process had died
	if h, err := Ask(path); h != nil || err != nil {
		t.Errorf("an abandoned door: %v, %v", h, err)
	}
	again := open(t, path)
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi, err)
	}
	again.Close()
}

func TestDoorIsNotMadeOverWhatIsThere(t *testing.T) {
	path := doorPath(t)
	open(t, path)
	if _, err := Open(path); err == nil {
		t.Error("two doors at one path")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil {
		t.Error("a door where a file is")
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "keep" {
		t.Errorf("the file: %q, %v", b, err)
	}
	for _, bad := range []string{"", "@abstract", filepath.Join(path, "below"), strings.Repeat("x", 200)} {
		if _, err := Open(bad); err == nil {
			t.Errorf("a door at %q", bad)
		}
	}
}

func TestClosedDoorCutsWhoIsThere(t *testing.T) {
	path := doorPath(t)
	p := serve(t, open(t, path), Socket{"a", listen(t)})
	h := ask(t, path)
	p.door.Close()
	if got := wait(t, p.ends); got.err == nil {
		t.Error("handed over through a closed door")
	}
	wait(t, p.done)
	// The predecessor drains: the sockets are the successor's, if it still wants them.
	d, err := h.Ready()
	if err != nil {
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			t.Error(err)
		}
		return
	}
	d.Close()
}

func TestSlowSuccessorIsRefusedAndThePredecessorGoesOn(t *testing.T) {
	path := doorPath(t)
	d := open(t, path)
	d.ready = 50 * time.Millisecond
	p := serve(t, d, Socket{"a", listen(t)})
	h := ask(t, path)
	if got := wait(t, p.ends); !errors.Is(got.err, os.ErrDeadlineExceeded) {
		t.Errorf("the predecessor: %v", got.err)
	}
	var refusal *Refusal
	if _, err := h.Ready(); !errors.As(err, &refusal) {
		t.Errorf("the successor: %v", err)
	}
	if again := ask(t, path); again.Use("a") == nil {
		t.Error("nothing is offered any more")
	}
}

// raw is a process that does not keep to the protocol.
func raw(t *testing.T, path string, text ...string) *wire {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{conn: c.(*net.UnixConn)}
	t.Cleanup(w.close)
	for _, s := range text {
		frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
		for i := range frame { // a byte at a time
			if _, err := c.Write(frame[i : i+1]); err != nil {
				return w // it has hung up already
			}
		}
	}
	return w
}

func TestWhatIsNotTheProtocolEndsTheConnection(t *testing.T) {
	path := doorPath(t)
	p := serve(t, open(t, path), Socket{"a", listen(t)})
	for _, text := range []string{
		`{"kind":"hello","version":99}`, `{"kind":"ready"}`, `{"kind":"hello"`, "", strings.Repeat("x", 10),
	} {
		w := raw(t, path, text)
		if m, err := w.next(patience); err == nil && m.Kind != refuse {
			t.Errorf("%q got %v", text, m)
		}
	}
	long := raw(t, path)
	if _, err := long.conn.Write([]byte{255, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	if m, err := long.next(patience); err == nil {
		t.Errorf("a message of 4 GiB got %v", m)
	}
	for _, text := range []string{`{"kind":"ready","used":[2]}`, `{"kind":"ready","used":[-1]}`, `{"kind":"hello"}`} {
		w := raw(t, path, `{"kind":"hello","version":1}`, text)
		if got := wait(t, p.ends); got.err == nil {
			t.Errorf("%s was taken", text)
		}
		w.close()
	}
	if h := ask(t, path); h.Use("a") == nil {
		t.Error("the door is shut now")
	}
}

func TestOfferThatIsNotTheProtocolIsNotTaken(t *testing.T) {
	for _, offer := range [][]message{
		{{Kind: socket, Name: "a"}}, // without a descriptor
		{{Kind: yours}},
		{{Kind: refuse, Why: "not now"}},
	} {
		path := doorPath(t)
		l, err := listenUnix(path)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := l.AcceptUnix()
			if err != nil {
				t.Error(err)
				return
			}
			w := &wire{conn: c}
			defer w.close()
			for _, m := range offer {
				if err := w.send(m, nil); err != nil {
					t.Error(err)
				}
			}
		}()
		if h, err := Ask(path); err == nil || h != nil {
			b, _ := json.Marshal(offer)
			t.Errorf("%s was taken", b)
		}
		wait(t, done)
		l.Close()
	}
}
