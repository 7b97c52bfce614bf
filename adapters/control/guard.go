package control

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"
)

// handler returns what answers requests; over TCP each must show that it comes from a
// program of the operator's.
func (s *Server) handler(tcp bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats", s.serveStats)
	mux.HandleFunc("GET /flows", s.serveFlows)
	mux.HandleFunc("GET /flows/{id}", s.serveFlow)
	mux.HandleFunc("DELETE /flows/{id}", s.serveKill)
	mux.Handle("GET /metrics", s.metrics)
	if s.Config != nil {
		mux.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/yaml; charset=utf-8")
			_, _ = w.Write(s.Config()) // the client's loss
		})
	}
	if s.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		// Not the command line: it may hold a password.
		mux.HandleFunc("GET /debug/pprof/cmdline", http.NotFound)
	}
	token := sha256.Sum256([]byte(s.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		code, why := http.StatusForbidden, ""
		switch {
		case tcp && !s.goodHost(r.Host):
			code, why = http.StatusMisdirectedRequest, "this Host is not served"
		case foreign(r):
			why = "requests of other sites are refused"
		case s.Token != "" && !authorized(r, token):
			h.Set("WWW-Authenticate", "Bearer")
			code, why = http.StatusUnauthorized, "the token is missing or wrong"
		case r.ContentLength != 0:
			code, why = http.StatusRequestEntityTooLarge, "no request has a body here"
		}
		if why == "" {
			mux.ServeHTTP(w, r)
			return
		}
		if s.Logger != nil {
			s.Logger.Warn("control: a request was refused", "why", why, "from", r.RemoteAddr)
		}
		h.Set("Connection", "close")
		fail(w, code, why)
	})
}

// goodHost tells whether a request may call this server so. An address cannot be made to
// lead elsewhere by somebody who owns a name.
func (s *Server) goodHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return strings.EqualFold(name, "localhost") ||
		slices.ContainsFunc(s.Hosts, func(h string) bool { return strings.EqualFold(h, name) })
}

// foreign tells whether a page of another site makes the request, as far as browsers say.
func foreign(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return true
	}
	site := r.Header.Get("Sec-Fetch-Site")
	return site != "" && site != "none" && site != "same-origin"
}

// authorized compares in constant time, whatever the lengths.
func authorized(r *http.Request, want [sha256.Size]byte) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	got := sha256.Sum256([]byte(token))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// fail answers with an error as JSON.
func fail(w http.ResponseWriter, code int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": why}) // the client's loss
}

// answer sends v as JSON.
func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client's loss
}
