// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/umbra-mesh/umbra/internal/dataplane/resolve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var addr = netip.MustParseAddr("192.0.2.1")

// pass lets virtual time go by.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // virtual time
	synctest.Wait()
}

func TestANameIsLookedUpAtOnceAndThenAtItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked, told atomic.Int64
		r := resolve.New(func(_ context.Context, network, name string) ([]netip.Addr, error) {
			if network != "ip4" || name != "a.test" {
				t.Errorf("asked for %s %s", network, name)
			}
			asked.Add(1)
			return []netip.Addr{addr}, nil
		})
		defer r.Close()
		stop := r.Watch("ip4", "a.test", time.Minute, func(addrs []netip.Addr, err error) {
			if err != nil || len(addrs) != 1 || addrs[0] != addr {
				t.Errorf("told %v, %v", addrs, err)
			}
			told.Add(1)
		})
		synctest.Wait()
		if asked.Load() != 1 || told.Load() != 1 {
			t.Errorf("asked %d times and told %d at once", asked.Load(), told.Load())
		}
		pass(time.Hour)
		// Late by 3 s on average, never by more than 6.
		if n := told.Load(); n < 55 || n > 61 || asked.Load() != n {
			t.Errorf("told %d times in an hour", n)
		}
		stop()
		stop() // twice is once
		before := asked.Load()
		pass(time.Hour)
		if n := asked.Load() - before; n != 0 {
			t.Errorf("asked %d times after the watch", n)
		}
	})
}

func TestAFailureTellsTheLastAnswerAndIsRepeatedSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("server failure")
		fail := atomic.Bool{}
		r := resolve.New(func(context.Context, string, string) ([]netip.Addr, error) {
			if fail.Load() {
				return nil, bad
			}
			return []netip.Addr{addr}, nil
		})
		defer r.Close()
		type event struct {
			at    time.Duration
			addrs int
			err   error
		}
		var events []event
		start := time.Now()
		note := func(addrs []netip.Addr, err error) {
			events = append(events, event{time.Since(start), len(addrs), err})
		}
		fail.Store(true)
		defer r.Watch("ip", "a.test", time.Minute, note)()
		pass(2 * time.Second)
		fail.Store(false)
		pass(3 * time.Second)
		fail.Store(true)
		pass(10 * time.Minute)
		good := 0
		for i, e := range events {
			switch {
			case e.err == nil:
				good++
			case good == 0 && e.addrs != 0, good > 0 && e.addrs != 1:
				t.Errorf("event %d: a failure told %d addresses", i, e.addrs)
			case !errors.Is(e.err, bad):
				t.Errorf("event %d: %v", i, e.err)
			}
		}
		// At 0, 1 and 3 s; a minute after that; then 1, 2, 4, 8, 16 and 32 s apart, and a minute apart.
		if good != 1 || len(events) < 15 || len(events) > 18 || events[2].at > 4*time.Second {
			t.Errorf("events %+v", events)
		}
	})
}

func TestNoAddressesAreAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := resolve.New(func(context.Context, string, string) ([]netip.Addr, error) { return nil, nil })
		defer r.Close()
		var got atomic.Pointer[error]
		defer r.Watch("ip", "a.test", time.Minute, func(_ []netip.Addr, err error) { got.Store(&err) })()
		synctest.Wait()
		if err := got.Load(); err == nil || *err == nil {
			t.Error("told as a success")
		}
	})
}

func TestLookupsAreBoundedAndNoneIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most, done atomic.Int64
		r := resolve.New(func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			return []netip.Addr{addr}, nil
		})
		defer r.Close()
		for i := range 100 {
			defer r.Watch("ip", fmt.Sprint(i), time.Hour, func([]netip.Addr, error) { done.Add(1) })()
		}
		pass(14 * time.Second)
		if done.Load() != 100 || most.Load() != 8 {
			t.Errorf("%d of 100 look-ups, %d at a time", done.Load(), most.Load())
		}
	})
}

func TestWatchesOfANameShareItsLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		begun := make(chan struct{}, 8)
		r := resolve.New(func(context.Context, string, string) ([]netip.Addr, error) {
			asked.Add(1)
			begun <- struct{}{}
			pause := time.NewTimer(time.Second)
			<-pause.C
			return []netip.Addr{addr}, nil
		})
		defer r.Close()
		var told [3]atomic.Int64
		watch := func(i int) func() {
			return r.Watch("ip", "a.test", time.Hour, func([]netip.Addr, error) { told[i].Add(1) })
		}
		defer watch(0)()
		<-begun
		defer watch(1)() // while it is looked up
		pass(time.Minute)
		if asked.Load() != 1 || told[0].Load() != 1 || told[1].Load() != 1 {
			t.Errorf("asked %d times, told %d and %d", asked.Load(), told[0].Load(), told[1].Load())
		}
		defer watch(2)() // after that: at once again
		pass(2 * time.Second)
		if asked.Load() != 2 || told[2].Load() != 1 {
			t.Errorf("asked %d times, the last watch is told %d times", asked.Load(), told[2].Load())
		}
	})
}

func TestALookupThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := resolve.New(func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		var fails atomic.Int64
		r.Watch("ip", "a.test", time.Hour, func(_ []netip.Addr, err error) {
			if err != nil {
				fails.Add(1)
			}
		})
		pass(15 * time.Second)
		if n := fails.Load(); n != 1 {
			t.Errorf("told of %d failures", n)
		}
		r.Close() // ends the one that hangs now, and tells nobody
		if n := fails.Load(); n != 1 {
			t.Errorf("told of a failure by Close")
		}
		r.Watch("ip", "b.test", time.Hour, func([]netip.Addr, error) { t.Error("told after Close") })()
		r.Close()
	})
}

func TestWatchingAndStoppingFromManyGoroutines(t *testing.T) {
	r := resolve.New(func(context.Context, string, string) ([]netip.Addr, error) { return []netip.Addr{addr}, nil })
	defer r.Close()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 200 {
				told := make(chan struct{}, 64)
				stop := r.Watch("ip", fmt.Sprint((i+k)%5), time.Hour, func([]netip.Addr, error) {
					select {
					case told <- struct{}{}:
					default:
					}
				})
				select {
				case <-told:
				case <-time.After(20 * time.Second):
					t.Error("waited in vain for an answer")
				}
				stop()
			}
		})
	}
	wg.Wait()
}

func TestSystemKnowsAddresses(t *testing.T) {
	got, err := resolve.System()(t.Context(), "ip4", "192.0.2.1")
	if err != nil || len(got) != 1 || got[0].Unmap() != addr {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAwaitReturnsWhenEveryNameHasAnAnswerAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := resolve.New(func(_ context.Context, _, name string) ([]netip.Addr, error) {
			<-time.After(time.Duration(len(name)) * time.Second) // virtual
			if name == "bad" {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
		})
		defer r.Close()
		if !r.Await(time.Second) {
			t.Error("nothing is watched, and it waited")
		}
		told := map[string]bool{}
		for _, name := range []string{"bad", "a.example"} {
			defer r.Watch("ip", name, time.Minute, func([]netip.Addr, error) { told[name] = true })()
		}
		if r.Await(5*time.Second) || len(told) != 1 {
			t.Errorf("after 5 s: %v told, want one", told)
		}
		if !r.Await(5*time.Second) || len(told) != 2 {
			t.Errorf("after 9 s: %v told, want both", told)
		}
	})
}
