// SPDX-License-Identifier: Apache-2.0

package http1

import "github.com/umbra-mesh/umbra/internal/dataplane/codec"

// statusLine parses the complete line at i into h (RFC 9112 §4) and returns where the next begins. b has slack. The
// space before an empty reason may be missing: many servers leave it out, and nothing can be misread.
func statusLine(h *codec.Head, b []byte, i int) (next int, err *codec.Error) {
	v := b[i : i+12 : i+12] // within the slack, if not within the line
	if string(v[:7]) != "HTTP/1." || v[7] != '0' && v[7] != '1' || v[8] != ' ' {
		return 0, malformed(detailCodec, "bad version in the status line", nil)
	}
	h.Minor = int(v[7] - '0')
	if class[v[9]]&class[v[10]]&class[v[11]]&inDigit == 0 || v[9] == '0' {
		return 0, malformed(detailCodec, "bad status in the status line", nil)
	}
	h.Status = int(v[9]-'0')*100 + int(v[10]-'0')*10 + int(v[11]-'0')
	i += 12
	if b[i] == ' ' {
		i++
	} else if b[i] != '\r' {
		return 0, malformed(detailCodec, "byte %q after the status", b[i:i+1])
	}
	e := textEnd(b, i)
	if b[e] != '\r' || b[e+1] != '\n' {
		return 0, malformed(detailCharacters, "byte %q in the reason phrase", b[e:e+1])
	}
	h.Reason = b[i:e:e]
	return e + 2, nil
}
