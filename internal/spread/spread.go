// SPDX-License-Identifier: Apache-2.0

// Package spread does many independent steps on more than one processor. It bounds how many, and keeps no goroutine
// beyond a call.
package spread

import (
	"sync"
	"sync/atomic"
)

// processors is how many a call uses at most, whatever the machine has: configuration may change under traffic, which
// needs the others.
const processors = 2

// Each calls do for each i below n, in no order, and returns when all calls have. do must not write to what another
// call of it reads. Below few steps all is done by the caller's goroutine: a second one would cost more than it saves.
func Each(n, few int, do func(i int)) {
	if n < few {
		for i := range n {
			do(i)
		}
		return
	}
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			do(i)
		}
	}
	var others sync.WaitGroup
	for range processors - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
}
