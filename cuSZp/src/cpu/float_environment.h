// The floating-point environment the codec computes in, whatever the caller has set.
#ifndef CUSZP_SRC_CPU_FLOAT_ENVIRONMENT_H
#define CUSZP_SRC_CPU_FLOAT_ENVIRONMENT_H

#include <cfenv>

namespace cuszp {

// Rounds to nearest and keeps subnormals until the end of the scope; threads started meanwhile inherit it.
class DefaultFloatEnvironment {
 public:
  DefaultFloatEnvironment() {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatEnvironment() { std::fesetenv(&saved_); }
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

 private:
  std::fenv_t saved_;
};

}  // namespace cuszp

#endif
