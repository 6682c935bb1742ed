// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"io"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

// rally is an owner that sends a message, waits for its echo, and so on, with a timer armed for each and, every time, a
// task and something to free.
type rally struct {
	c       *Conn
	w       *Worker
	left    int
	missing int
	msg     []byte
	timer   Timer
	task    Task
	ran     int
	done    chan struct{}
}

func (r *rally) serve() {
	r.missing = len(r.msg)
	r.c.Write(r.msg[:len(r.msg)/2])
	r.c.Write(r.msg[len(r.msg)/2:])
	r.w.Arm(&r.timer, time.Minute)
	r.w.Later(&r.task)
	r.w.Defer(r)
}

func (r *rally) Connected() { r.serve() }
func (r *rally) Bytes(b chunk.Bytes) {
	if r.missing -= len(b.B); r.missing > 0 {
		return
	}
	r.w.Disarm(&r.timer)
	if r.left--; r.left > 0 {
		r.serve()
		return
	}
	close(r.done)
}
func (r *rally) EOF()       {}
func (r *rally) Writable()  {}
func (r *rally) Gone(error) {}
func (r *rally) Free()      {}

func (r *rally) play(t testing.TB, rounds int) {
	r.done = make(chan struct{})
	on(t, r.w, func() {
		r.left = rounds
		r.serve()
	})
	receive(t, r.done, "the rally's end")
}

// Through real sockets, whatever the process does: reads, writes, timers, tasks, frees and turns leave no garbage.
// Small messages are copied, large ones referenced.
func TestSteadyTrafficAllocatesNothing(t *testing.T) {
	for _, size := range []int{200, 100_000} {
		for _, class := range []Class{Production, Copy} {
			w := start(t, Config{Publish: func() {}}, nil)
			addr := serveEcho(t, w, class)
			r := &rally{w: w, msg: pattern(size), left: 1, done: make(chan struct{})}
			r.timer.Init(func() { t.Error("the rally hangs") })
			r.task.Init(func() { r.ran++ })
			on(t, w, func() { r.c = w.Dial(addr, class, time.Minute, r) })
			receive(t, r.done, "the first echo")
			r.play(t, 200)
			const rounds = 5000
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r.play(t, rounds)
			runtime.ReadMemStats(&after)
			limit := 0.01
			if _, ok := w.drv.(*portable); ok {
				limit = 0.1 // goroutines that wait for each other cost the runtime some
			}
			if n := float64(after.Mallocs-before.Mallocs) / rounds; n > limit {
				t.Errorf("%d bytes, class %d: %.3f allocations a round", size, class, n)
			}
			on(t, w, func() {
				if r.ran == 0 {
					t.Error("no task ran")
				}
				r.c.Close()
			})
		}
	}
}

func TestArmingAndDisarmingAllocatesNothing(t *testing.T) {
	w, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	var timer Timer
	timer.Init(func() {})
	if n := testing.AllocsPerRun(1000, func() {
		w.Arm(&timer, time.Second)
		w.Arm(&timer, time.Minute)
		w.Disarm(&timer)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Beside a goroutine that computes without end, with one P to spare as the design asks for, a parked worker still
// answers. How fast is logged, not asserted.
func TestWorkerAnswersBesideBusyGoroutine(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3)) // worker, the busy one, one to spare
	w := start(t, Config{}, nil)
	c, err := net.Dial("tcp", serveEcho(t, w, Production).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	var took []time.Duration
	b := make([]byte, 4)
	for range 500 {
		began := time.Now()
		c.Write([]byte("ping"))
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	close(stop)
	<-stopped
	slices.Sort(took)
	t.Logf("round trip p50 %v, p99 %v, max %v", took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
}
