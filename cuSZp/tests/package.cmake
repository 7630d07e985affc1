# Installs the library into a scratch prefix and builds and runs a project that finds it there.
set(prefix ${BUILD}/package-test/prefix)
set(project ${BUILD}/package-test/consumer)
file(REMOVE_RECURSE ${BUILD}/package-test)
foreach(command IN ITEMS
    "--install;${BUILD};--prefix;${prefix};--config;${CONFIG}"
    "-S;${CMAKE_CURRENT_LIST_DIR}/consumer;-B;${project};-G;${GENERATOR};-DCMAKE_PREFIX_PATH=${prefix};-DCMAKE_CXX_COMPILER=${CXX};-DCMAKE_BUILD_TYPE=${CONFIG};-DWANTED_VERSION=${VERSION}"
    "--build;${project};--config;${CONFIG};--target;run")
  execute_process(COMMAND ${CMAKE_COMMAND} ${command} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
