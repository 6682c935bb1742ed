// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"fmt"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// Response code details, as Envoy's HTTP/1 codec and connection manager have them.
const (
	detailCodec      = "http1.codec_error"
	detailHeadSize   = "http1.headers_too_large"
	detailFields     = "http1.too_many_headers"
	detailCharacters = "http1.invalid_characters"
	detailURL        = "http1.invalid_url"
	detailCoding     = "http1.invalid_transfer_encoding"
	detailBoth       = "http1.content_length_and_chunked_not_allowed"
	detailConnection = "http1.connection_header_rejected"
	detailHost       = "missing_host_header"
	detailIncomplete = "http1.incomplete"
)

// malformed is a fault of the peer's that has no status of its own. Operands are quoted and cut: they come from outside
// and go to the log.
func malformed(detail, format string, operand []byte) *codec.Error {
	return fault(400, detail, format, operand)
}

func fault(status int, detail, format string, operand []byte) *codec.Error {
	reason := format
	if operand != nil {
		reason = fmt.Sprintf(format, operand[:min(len(operand), 64)])
	}
	return &codec.Error{Status: status, Detail: detail, Reason: reason}
}
