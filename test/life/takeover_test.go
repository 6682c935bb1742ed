// SPDX-License-Identifier: Apache-2.0

package life_test

import (
	"flag"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

var (
	takeovers = flag.Int("takeovers", 4, "how often a process takes over from the last")
	rate      = flag.Int("rate", 300, "new connections a second meanwhile")
)

// mesh is what every generation of a process is started with.
type mesh struct {
	t       *testing.T
	origin  *origin
	addr    string
	admin   string
	door    string
	args    []string
	running *process
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{t: t, origin: newOrigin(t), door: filepath.Join(t.TempDir(), "door")}
	port, admin := freePort(t), freePort(t)
	m.addr, m.admin = address(port), address(admin)
	m.args = []string{
		"run", "-f", config(t, port, m.origin.addr, ""), "--bind", "127.0.0.1", "--admin", m.admin, "--takeover", m.door,
	}
	m.running = m.start().serves()
	return m
}

func (m *mesh) start(more ...string) *process {
	m.t.Helper()
	return launch(m.t, nil, append(m.args[:len(m.args):len(m.args)], more...)...)
}

// next starts a process that takes over, and returns the one before.
func (m *mesh) next() *process {
	m.t.Helper()
	last := m.running
	m.running = m.start().serves()
	return last
}

func TestTakeoverRefusesAndResetsNothing(t *testing.T) {
	m := newMesh(t)
	traffic := newTraffic(t, m.addr, *rate, 64)
	defer traffic.stop() // before the processes are killed
	traffic.pass(int64(*rate) / 5)
	for range *takeovers {
		last := m.next()
		if code := last.exit(); code != 0 {
			t.Fatalf("exit code %d of the process that was taken over", code)
		}
		traffic.pass(int64(*rate) / 5)
		if t.Failed() {
			return
		}
	}
	traffic.stop()
	t.Logf("%d connections over %d takeovers, %d failed", traffic.made.Load(), *takeovers, traffic.failed.Load())
	if fi, err := os.Stat(m.door); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the door after takeovers: %v, %v", fi, err)
	}
	m.running.signal(syscall.SIGTERM)
	if code := m.running.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(m.door); !os.IsNotExist(err) {
		t.Errorf("the door stays after the last process: %v", err)
	}
}

func TestTakenOverProcessFinishesWhatItHas(t *testing.T) {
	m := newMesh(t)
	busy, idle := dial(t, m.addr), dial(t, m.addr)
	idle.get("/")
	idle.answer()
	busy.get("/hold")
	m.origin.arrived(t)
	last := m.next()
	last.said("another process serves now")
	if rest, err := idle.over(); rest != "" || err != nil {
		t.Errorf("idle connection: %q, %v", rest, err)
	}
	if err := once(m.addr, "/"); err != nil {
		t.Error(err)
	}
	if code, state := m.running.page("/ready"); code != http.StatusOK {
		t.Errorf("the admin port says %d %q", code, state)
	}
	select {
	case <-last.ended:
		t.Fatal("ended with a request under way")
	default:
	}
	m.origin.release()
	resp, body := busy.answer()
	if resp.StatusCode != 200 || body != "hello" || !resp.Close {
		t.Errorf("the request under way got %d %q, close %v", resp.StatusCode, body, resp.Close)
	}
	busy.Close()
	if code := last.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestMirrorsThatAreOffStayOff(t *testing.T) {
	m := newMesh(t)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}).Post(
		"http://"+m.admin+"/mirrors?enabled=false", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for range 2 {
		m.next().exit()
		if on := m.running.metric("umbra_mirrors_enabled"); on != 0 {
			t.Errorf("a takeover switched mirrors on: %v", on)
		}
	}
}

func TestFailedSuccessorLeavesThePredecessorServing(t *testing.T) {
	m := newMesh(t)
	traffic := newTraffic(t, m.addr, 100, 8)
	defer traffic.stop() // before the processes are killed
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer occupied.Close()
	// It has the sockets by then, and fails with the last one.
	if code := m.start("--outbound", occupied.Addr().String()).exit(); code != 1 {
		t.Errorf("exit code %d of a process that cannot bind", code)
	}
	m.running.said("a process that was to take over did not")
	if code := m.start("--file", "/nowhere").exit(); code == 0 {
		t.Error("a process without configuration took over")
	}
	traffic.pass(20)
	select {
	case <-m.running.ended:
		t.Fatal("the predecessor ended")
	default:
	}
	last := m.next() // and the next attempt is as good as the first
	if code := last.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	traffic.pass(20)
}

func TestSuccessorThatDiesBeforeItIsReadyChangesNothing(t *testing.T) {
	m := newMesh(t)
	c, err := net.Dial("unix", m.door)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	frame := `{"kind":"hello","version":1,"pid":1}`
	if _, err := c.Write(append([]byte{0, 0, 0, byte(len(frame))}, frame...)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 64)); err != nil { // the offer comes
		t.Fatal(err)
	}
	c.Close()
	m.running.said("a process that was to take over did not")
	if err := once(m.addr, "/"); err != nil {
		t.Error(err)
	}
	if code := m.next().exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestDoorOfADeadProcessIsTakenByTheNext(t *testing.T) {
	m := newMesh(t)
	m.running.signal(syscall.SIGKILL)
	m.running.exit()
	if _, err := os.Stat(m.door); err != nil {
		t.Fatal(err)
	}
	m.running = m.start().serves()
	if err := once(m.addr, "/"); err != nil {
		t.Error(err)
	}
	if code := m.next().exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
