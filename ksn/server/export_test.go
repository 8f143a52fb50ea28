package server

// Clients is how many clients are remembered.
func (s *Server) Clients() int {
	s.clients.mu.Lock()
	defer s.clients.mu.Unlock()
	return max(len(s.clients.clients), s.clients.order.Len())
}
