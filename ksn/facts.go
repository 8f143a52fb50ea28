package ksn

import (
	"fmt"
	"time"

	"example.org/avdb/dbformat"
)

// A Service is a kind of request.
type Service string

// The services. Their words are those of restriction records.
const (
	ServiceLookup Service = "lookup" // what is known of an object?
	ServiceInfo   Service = "info"   // what does the network offer?
	ServiceStats  Service = "stats"  // statistics, in extended mode only
)

// statement is the first statement version that tells users of the service; a service that an
// accepted statement does not know is not used.
func (s Service) statement() int {
	switch s {
	case ServiceLookup, ServiceInfo, ServiceStats:
		return 1
	}
	return 1e9 // no statement describes it
}

// An Object is a kind of thing that a look-up is about.
type Object string

// The kinds of objects. Each is looked up, cached, restricted and counted separately.
const (
	ObjectFile     Object = "file"
	ObjectURL      Object = "url"
	ObjectSoftware Object = "software"
)

// Objects lists the kinds of objects.
func Objects() []Object { return []Object{ObjectFile, ObjectURL, ObjectSoftware} }

// An Origin says who waits for the answer.
type Origin string

// The origins of requests.
const (
	OriginOnAccess   Origin = "on_access"
	OriginOnDemand   Origin = "on_demand"
	OriginManual     Origin = "manual"
	OriginBackground Origin = "background"
)

// Origins lists the origins.
func Origins() []Origin {
	return []Origin{OriginOnAccess, OriginOnDemand, OriginManual, OriginBackground}
}

// A NetworkKind says whose servers answer.
type NetworkKind string

// The kinds of networks. A device that has none installed counts as one of the global network.
const (
	NetworkGlobal  NetworkKind = "global"
	NetworkPrivate NetworkKind = "private"
)

// A Route says which way a request goes.
type Route string

// The routes.
const (
	RouteDirect Route = "direct" // to the servers of the network
	RouteProxy  Route = "proxy"  // to a KSN proxy
)

// Routes lists the routes that the device's settings permit, first choice first.
func Routes(useProxy, useServersIfProxyUnavailable bool) []Route {
	switch {
	case !useProxy:
		return []Route{RouteDirect}
	case useServersIfProxyUnavailable:
		return []Route{RouteProxy, RouteDirect}
	}
	return []Route{RouteProxy}
}

// A Request is what the gate needs to know of a request: nothing that says what the answer will be.
type Request struct {
	Service Service     `json:"service"`
	Object  Object      `json:"object,omitempty"` // of a look-up; info and stats have none
	Origin  Origin      `json:"origin"`
	Network NetworkKind `json:"network"`
	Route   Route       `json:"route"`
	Key     string      `json:"key,omitempty"` // what is asked about, for sampling; any text that stays the same on a retry
}

// A Credential says how the operator of the network receives us.
type Credential string

// The states of a credential. The zero value is CredentialAccepted: a network may demand none.
const (
	CredentialAccepted Credential = ""
	CredentialRejected Credential = "rejected" // 401 or 403: the operator does not know us
	CredentialExpired  Credential = "expired"  // the provider file's life is over
)

// An Installed network is what the gate and the status need of a verified provider file.
type Installed struct {
	Kind             NetworkKind
	Name             string // as the operator writes it
	RefusesCloudMode bool   // the network lacks the capability cloud_mode
}

// Facts are what is known of the client. The zero value is a device on which nobody agreed to anything.
type Facts struct {
	Consent    Consent
	Policy     Mode             // mode that the config file fixes, "" for none; policy cannot accept a statement
	Network    *Installed       // nil: none installed, or one that cannot be used
	Unusable   NetworkKind      // of the network that is installed and cannot be used; "" for none
	Credential Credential       // of Network
	Install    string           // the install id in hex; never leaves the device, only its hashes decide
	Product    string           // the embedding product; "" is in no list of products
	Version    string           // of the product: "2.1.0"
	Region     string           // as configured; "" is in no list of regions
	Variant    dbformat.Variant // installed; "" is in no list of variants
}

// InForce is the mode that counts now, with the reason where it is off. Zero connections are made while it is off.
func (f Facts) InForce() (m Mode, why string) {
	if f.Policy != "" && !f.Policy.On() {
		return ModeOff, "switched off by policy"
	}
	c := f.Consent
	if !c.hasAccepted() {
		return ModeOff, "no statement is accepted"
	}
	if f.Policy.On() {
		return f.Policy, ""
	}
	if m = c.inForce(); !m.On() {
		return ModeOff, "switched off"
	}
	return m, ""
}

// kind is the network whose servers the client's requests may go to.
func (f Facts) kind() NetworkKind {
	switch {
	case f.Network != nil:
		return f.Network.Kind
	case f.Unusable != "":
		return f.Unusable
	}
	return NetworkGlobal
}

// whyUnusable says that Unusable is so.
func (f Facts) whyUnusable() string {
	return fmt.Sprintf("the provider file of the %s network cannot be used", f.Unusable)
}

// CloudMode tells whether cloud mode has its effect, which is that the light variant is wanted, and if it is on and
// has not, why. A network that is not installed does not refuse it: the device then has light without a cloud,
// about which [DeviceStatus] warns. One that is there and cannot be used leaves nobody to ask, for as long as no newer engine or file comes: everything is
// needed on the device.
func CloudMode(on bool, f Facts) (effective bool, why string) {
	if !on {
		return false, ""
	}
	if m, why := f.InForce(); !m.On() {
		return false, "KSN is off: " + why
	}
	if f.Unusable != "" {
		return false, f.whyUnusable()
	}
	if f.Network != nil && f.Network.RefusesCloudMode {
		return false, "the network does not offer cloud mode"
	}
	return true, ""
}

// WantedVariant is light if cloud mode is on and effective, else full. Whether a release is offered as
// light is not asked here.
func WantedVariant(cloudMode bool, f Facts) dbformat.Variant {
	if ok, _ := CloudMode(cloudMode, f); ok {
		return dbformat.VariantLight
	}
	return dbformat.VariantFull
}

// TimeUsed is the time for every decision here: the system's clock, but never before the
// newest signed time that was ever verified. A clock that was set back does not bring an old restriction back
// or keep a new one from beginning.
func TimeUsed(system, newestSigned time.Time) time.Time {
	if newestSigned.After(system) {
		return newestSigned
	}
	return system
}
