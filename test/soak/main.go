// SPDX-License-Identifier: Apache-2.0

// Soak runs umbra at a share of what it can take, for long, beside a mirror that suffers from one fault after the other
// and a production that is merely difficult, and says whether anything was lost: an answer of production, a copy that is
// not accounted for, or memory that does not come back.
//
//	go run ./test/soak [-for 20m] [-rate 0.5] [-every 0] [-umbra FILE]
//
// Umbra, the load, production and the mirror are processes of their own. It exits with 1 if a promise was broken, with 2
// if it could not run. Memory is judged by the slope of its resident part after the first quarter, in runs of 20 minutes
// and more; shorter ones print it only.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type options struct {
	span, every time.Duration
	rate        float64
	umbra       string
}

func main() {
	var o options
	flag.DurationVar(&o.span, "for", 20*time.Minute, "soak for this long")
	flag.DurationVar(&o.every, "every", 0,
		"let another fault begin each time; 0 is as often as all come twice after the first quarter")
	flag.Float64Var(&o.rate, "rate", 0.5, "send this `share` of what the machine was measured to take")
	flag.StringVar(&o.umbra, "umbra", "", "use this `file`, not one built from ./cmd/umbra")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := 0
	var err error
	if role := roles[flag.Arg(0)]; role != nil {
		err = role(os.Stdin, os.Stdout)
	} else {
		code, err = soak(ctx, o, os.Stdout)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		code = 2
	}
	os.Exit(code)
}
