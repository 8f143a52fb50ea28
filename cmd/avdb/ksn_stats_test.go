package main

import (
	"crypto/tls"
	"errors"
	"io"
	"testing"

	"example.org/avdb/ksn/reputation"
	"example.org/avdb/ksn/statistics"
)

// Each way in which a request fails is counted as the kind that the statement names.
func TestFailuresAreCountedByKind(t *testing.T) {
	for _, c := range []struct {
		of   reputation.RouteError
		want statistics.Failure
	}{
		{reputation.RouteError{Status: 401}, statistics.FailureUnauthorized},
		{reputation.RouteError{Status: 403}, statistics.FailureUnauthorized},
		{reputation.RouteError{Status: 421}, statistics.FailureWrongNetwork},
		{reputation.RouteError{Status: 429}, statistics.FailureTooMany},
		{reputation.RouteError{Status: 451}, statistics.FailureRestricted},
		{reputation.RouteError{Status: 503}, statistics.FailureServer},
		{reputation.RouteError{Status: 302}, statistics.FailureProtocol},
		{reputation.RouteError{Fault: reputation.FaultLength}, statistics.FailureProtocol},
		{reputation.RouteError{Fault: reputation.FaultTimeout}, statistics.FailureTimeout},
		{reputation.RouteError{Fault: reputation.FaultUnverified}, statistics.FailureSignature},
		{reputation.RouteError{Fault: reputation.FaultConnection, Err: io.ErrUnexpectedEOF}, statistics.FailureConnect},
		{reputation.RouteError{Fault: reputation.FaultConnection, Err: &tls.CertificateVerificationError{Err: errors.New("unknown authority")}}, statistics.FailureTLS},
		{reputation.RouteError{Fault: reputation.FaultConnection, Err: tls.AlertError(40)}, statistics.FailureTLS},
		{reputation.RouteError{}, statistics.FailureOther},
	} {
		if got := failureOf(&c.of); got != c.want {
			t.Errorf("%+v: %s, want %s", c.of, got, c.want)
		}
	}
	if got := failureOf(io.EOF); got != statistics.FailureOther {
		t.Errorf("another error: %s", got)
	}
}
