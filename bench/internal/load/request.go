// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"strings"
)

// HeadSize is the size of every request head in bytes.
const HeadSize = 220

// request renders a request whose head has HeadSize bytes: a GET, or a POST if it has a body.
func request(path string, body int) ([]byte, error) {
	method, framing := "GET", ""
	if body > 0 {
		method, framing = "POST", fmt.Sprintf("Content-Type: application/octet-stream\r\nContent-Length: %d\r\n", body)
	}
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: umbra-bench\r\nAccept: */*\r\n"+
		"X-Request-Id: 3b1f6c1e-8a55-4f0e-9a44-6f1c2f0d7a10\r\n%sCookie: ", method, path, framing)
	pad := HeadSize - len(head) - len(headEnd)
	if pad < 1 {
		return nil, fmt.Errorf("path %q is too long for a head of %d bytes", path, HeadSize)
	}
	b := make([]byte, 0, HeadSize+body)
	b = append(b, head...)
	b = append(b, strings.Repeat("s", pad)...)
	b = append(b, headEnd...)
	for i := range body {
		b = append(b, byte('a'+i%26))
	}
	return b, nil
}
