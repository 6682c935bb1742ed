// SPDX-License-Identifier: Apache-2.0

package strict

import (
	"strings"
	"testing"
)

// Each way to be wrong is found, and what is right is not.
func TestWhatIsWrongIsFound(t *testing.T) {
	plain := Got{Head: "GET / HTTP/1.1\r\nhost: a.example\r\nx: y\r\n\r\n"}
	other := Got{Head: "GET /smuggled HTTP/1.1\r\nhost: a.example\r\n\r\n"}
	pass := Case{Pass: true, Line: "GET / HTTP/1.1", Fields: map[string]string{"x": "y", "z": "-"}}
	refuse := Case{Refuse: bad}
	either := Case{Pass: true, Refuse: bad}
	broken := Case{Answer: "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi", Status: []int{200, 502}, Broken: true}
	whole := Case{Answer: "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", Status: []int{200}, Got: "hi"}
	for name, c := range map[string]struct {
		of    Case
		r     Result
		fault string // "": none
	}{
		"passed":                     {pass, Result{Statuses: []int{200}, Origin: []Got{plain}}, ""},
		"refused":                    {refuse, Result{Statuses: []int{400}, Closed: true}, ""},
		"closed without a word":      {refuse, Result{Closed: true}, ""},
		"either, passed":             {either, Result{Statuses: []int{200}, Origin: []Got{plain}}, ""},
		"either, refused":            {either, Result{Statuses: []int{400}, Closed: true}, ""},
		"answered by the proxy":      {pass, Result{Statuses: []int{200}}, "the origin got nothing"},
		"not answered":               {pass, Result{Closed: true}, "no answer"},
		"neither answered nor ended": {refuse, Result{}, "neither an answer nor the end"},
		"not refused":                {refuse, Result{Statuses: []int{200}, Origin: []Got{plain}}, "answered 200"},
		"refused by another status":  {refuse, Result{Statuses: []int{431}, Closed: true}, "none of [400]"},
		"refused and sent on":        {refuse, Result{Statuses: []int{400}, Closed: true, Origin: []Got{plain}}, "got it all the same"},
		"refused and left open":      {refuse, Result{Statuses: []int{400}}, "stays open"},
		"sent on in silence":         {refuse, Result{Closed: true, Origin: []Got{plain}}, "the origin got it"},
		"a client's fault as ours":   {refuse, Result{Statuses: []int{502}, Closed: true}, "is answered 502"},
		"smuggled":                   {pass, Result{Statuses: []int{200}, Origin: []Got{plain, other}}, "2 requests, 1 were sent"},
		"another line":               {pass, Result{Statuses: []int{200}, Origin: []Got{other}}, `got "GET /smuggled`},
		"another body": {pass, Result{Statuses: []int{200}, Origin: []Got{{Head: plain.Head, Body: "b"}}},
			"the body"},
		"a field that must not be there": {pass, Result{Statuses: []int{200},
			Origin: []Got{{Head: "GET / HTTP/1.1\r\nx: y\r\nz: 1\r\n\r\n"}}}, "got z:"},
		"malformed": {refuse, Result{Closed: true, Origin: []Got{{Head: "GET", Faulty: "request line"}}}, "malformed"},
		"closed though it may be used": {Case{Pass: true, Open: true},
			Result{Statuses: []int{200}, Closed: true, Origin: []Got{plain}}, "the connection ended"},
		"a cut answer that shows":     {broken, Result{Statuses: []int{200}, Broken: true, Closed: true}, ""},
		"a cut answer as 502":         {broken, Result{Statuses: []int{502}}, ""},
		"a cut answer that is hidden": {broken, Result{Statuses: []int{200}, Body: "hi"}, "looks whole"},
		"a whole answer":              {whole, Result{Statuses: []int{200}, Body: "hi"}, ""},
		"a whole answer cut":          {whole, Result{Statuses: []int{200}, Body: "hi", Broken: true}, "cut off"},
		"another answer":              {whole, Result{Statuses: []int{200}, Body: "ho"}, `got "ho"`},
		"an answer lost":              {whole, Result{Closed: true}, "no answer"},
	} {
		c.of.judge(&c.r)
		got := strings.Join(c.r.Faults, "; ")
		if (got == "") != (c.fault == "") || !strings.Contains(got, c.fault) {
			t.Errorf("%s: faults %q, want %q", name, got, c.fault)
		}
	}
}
